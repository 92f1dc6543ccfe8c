"""New strategy code reloads the instances that run it one by one: at most one of a type is on its way. Pure state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.records.plan import Action, Load, Phase, Reload, Running, load_key


class Rollout:
    """Lets through the next code reload of each strategy type once the one before it has arrived."""

    def __init__(self) -> None:
        self._on_its_way: dict[str, str] = {}

    def admit(self, actions: Sequence[Action], running: Mapping[str, Running]) -> tuple[Action, ...]:
        """`actions` less the code reloads that must wait their turn; the next plan yields those again."""
        loading = {action.row.id for action in actions if isinstance(action, Load)}
        self._on_its_way = {
            strategy_type: instance_id
            for strategy_type, instance_id in self._on_its_way.items()
            if instance_id in loading or _is_travelling(running.get(instance_id))
        }
        admitted = []
        for action in actions:
            if isinstance(action, Reload) and _is_for_code(action, running.get(action.row.id)):
                strategy_type = action.row.record.strategy_type
                if self._on_its_way.setdefault(strategy_type, action.row.id) != action.row.id:
                    continue
            admitted.append(action)
        return tuple(admitted)


def _is_travelling(view: Running | None) -> bool:
    return view is not None and view.phase in (Phase.LOADING, Phase.UNLOADING)


def _is_for_code(action: Reload, view: Running | None) -> bool:
    """True for a reload whose only urgency is new code; a change of mode never waits for its turn."""
    if view is None:
        return False
    key = load_key(action.row)
    return view.key.code_digest != key.code_digest and view.key.mode is key.mode
