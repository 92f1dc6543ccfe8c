"""The sum of a scope: what its instances come to together, kept up with every change, and held against its ceilings.

In the currency of the scope, of one kind of money: paper, shadow and real are never added up. Decides nothing by
itself and asks nobody; not thread-safe.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from reconciler import exact
from reconciler.execution.limits import Footprint
from reconciler.orders.market import usual
from reconciler.orders.order import Side, decimal_text
from reconciler.records.accounts import Scope, ScopeMemory

_ZERO: Final = Decimal(0)
MARK_S: Final = 60.0
"""For so long the last quote of what is held is good, and nothing is cancelled for want of a measure."""
NEAR: Final = Decimal("0.8")
"""From this part of a limit on, somebody is told."""
_NO_QUOTE: Final = "it cannot be measured: what the exchange holds has no quote"
_MONEY: Final = ("held", "gross", "traded", "loss", "result")

_Step = Callable[[Decimal, Decimal], Decimal]
Kind = str
"""`real`, `paper` or `shadow`."""


class Factor(NamedTuple):
    """What one of a market's currency counts as in the scope's; `one` is None where nobody has said."""

    currency: str
    one: Decimal | None

    @property
    def fault(self) -> str:
        return f"no factor from {self.currency}" if self.currency else "its market names no currency"


@dataclass(frozen=True, slots=True)
class Share:
    """What one instance counts. `base` is its result when it began to count here, in its market's currency."""

    instance_id: str
    market: str
    factor: Factor
    footprint: Footprint

    def amount(self, name: str, base: Decimal = _ZERO) -> Decimal | None:
        """One amount of the footprint in the scope's currency; None where it cannot be measured."""
        found: Decimal | None = getattr(self.footprint, name)
        if found is None:
            return None
        found = exact.subtract(found, base)
        if not found:
            return _ZERO
        return None if self.factor.one is None else exact.multiply(found, self.factor.one)

    def fault(self) -> str:
        """Why something of it is not measured."""
        if self.factor.one is None:
            return self.factor.fault
        return f"what it holds of {self.market} has no quote, no price or no contract size"


class Usage(NamedTuple):
    """How much of one limit is used. `used` is None where it cannot be measured, `why` says then whose it is.

    `settled` is the part that no cancel gives back. `is_reached`: nothing that adds exposure leaves any more.
    """

    limit: str
    used: Decimal | None
    settled: Decimal
    most: Decimal
    is_reached: bool
    why: str

    @property
    def left(self) -> Decimal | None:
        """How much of it is left, none being below zero."""
        if self.used is None:
            return None
        left = self.used if self.limit == "min_equity" else self.most
        taken = self.most if self.limit == "min_equity" else self.used
        return max(_ZERO, exact.subtract(left, taken))

    @property
    def is_full(self) -> bool:
        """True where nothing is left, and nothing is too much: what rests stays, and nothing more is opened."""
        return not self.is_reached and self.limit != "min_equity" and self.used is not None and self.used >= self.most

    def concerns(self, market: str) -> bool:
        """True where it, reached, means something to that market: a position of another does not."""
        return not self.limit.startswith("max_position") or self.limit == f"max_position[{market}]"

    @property
    def is_near(self) -> bool:
        """True from 80 % on; of a floor, from where 80 % of what there is would be below it."""
        if self.used is None:
            return True
        if self.limit == "min_equity":
            return exact.multiply(self.used, NEAR) <= self.most
        return self.used >= exact.multiply(self.most, NEAR)


class EquityReading(NamedTuple):
    """An amount that somebody told, and when, by the monotonic clock."""

    amount: Decimal
    at_s: float


class ScopeSum:
    """Of one scope and kind. Members are put by any key; what is put again replaces what was."""

    def __init__(self, scope: Scope, kind: Kind, memory: ScopeMemory | None = None) -> None:
        self.scope = scope
        self.kind = kind
        self._own = usual(scope.currency)
        self.needs_currency = scope.ceilings.needs_currency
        self._has_bases = scope.ceilings.max_drawdown is not None
        memory = memory or ScopeMemory()
        self._high, self._folded, self._bases = memory.high, memory.folded, dict(memory.bases)
        self._fallen_at, self._lost_on = memory.fallen_at, memory.lost_on
        self._is_news = False
        self.is_near = True
        """Whether any limit of it was near when all were looked at last; True before."""
        self.version = 0
        """Rises whenever something that it counts does otherwise."""
        self.seen: tuple[int, int] | None = None
        self.reached: tuple[Usage, ...] = ()
        """What was reached when it was `seen` last: a version, and a second of the monotonic clock."""
        self._blind_since_s: float | None = None
        self.is_long_blind = False
        """True where it could not be measured for so long that nothing may rest on it any more."""
        self.equity: EquityReading | None = None
        self.beside: dict[tuple[str, str], tuple[Decimal, Decimal | None]] = {}
        """By account and market: what the exchange holds beside the books, and what it holds more than they do."""
        self._members: dict[str, Share] = {}
        self._amounts: dict[str, dict[str, Decimal | None]] = {}
        """What each member counts, of what a limit asks for."""
        self._wanted = tuple(
            dict.fromkeys(
                name for limit, names in _NEEDED.items() if getattr(scope.ceilings, limit) is not None for name in names
            )
        )
        self._total: dict[str, Decimal] = dict.fromkeys(_MONEY, _ZERO)
        self._losses: defaultdict[Factor, Decimal] = defaultdict(Decimal)
        self._unmeasured: dict[str, dict[str, Share]] = {name: {} for name in _MONEY}
        self._open = 0
        self._markets: defaultdict[str, list[Decimal]] = defaultdict(lambda: [_ZERO, _ZERO, _ZERO])
        self._traded: deque[tuple[float, Decimal | None, str]] = deque()
        self._window = _ZERO
        self._blind: defaultdict[str, int] = defaultdict(int)
        """How many trades within the window have no price, by instance."""

    def memory(self) -> ScopeMemory:
        """What must be known of it after a restart."""
        return ScopeMemory(self._high, self._folded, dict(self._bases), self._fallen_at, self._lost_on)

    def base_of(self, key: str) -> Decimal:
        """The result of a member when it began to count, in its market's currency."""
        return self._bases.get(key, _ZERO)

    def members(self) -> Mapping[str, Share]:
        return self._members

    def put(self, key: str, member: Share | None) -> None:
        """What it counts from now on; None: nothing."""
        self.version += 1
        before = self._members.get(key)
        if before is not None and member is not None and self._recounts(key, before, member):
            return
        if before is not None:
            del self._members[key]
            self._uncount(key, before)
        if member is not None:
            if self._has_bases and key not in self._bases:
                self._begin(key, member)
            self._members[key] = member
            self._count(key, member)

    def leaves(self, key: str) -> None:
        """It counts no more; what it made or lost meanwhile stays in the result."""
        member = self._members.get(key)
        self.put(key, None)
        if member is not None and key in self._bases:
            made = member.amount("result", self._bases.pop(key))
            self._folded = exact.add(self._folded, made or _ZERO)
            self._is_news = True

    def trades(self, at_s: float, amount: Decimal | None, instance_id: str) -> None:
        """Something was filled, `amount` of it in the scope's currency; None where nobody knows its price."""
        self.version += 1
        self._traded.append((at_s, amount, instance_id))
        if amount is None:
            self._blind[instance_id] += 1
        else:
            self._window = exact.add(self._window, amount)

    def passes(self, now_s: float, monotonic_s: float) -> None:
        """Time does: what was traded too long ago counts no more, and what was told too long ago is not known."""
        if self.equity is not None and monotonic_s - self.equity.at_s > MARK_S:
            self.equity = None
        lacks_equity = self.scope.ceilings.min_equity is not None and self.equity is None
        if not lacks_equity and not self.unmeasured():
            self._blind_since_s = None
        elif self._blind_since_s is None:
            self._blind_since_s = monotonic_s
        self.is_long_blind = self._blind_since_s is not None and monotonic_s - self._blind_since_s > MARK_S
        turnover = self.scope.ceilings.max_turnover
        since_s = now_s - (0 if turnover is None else turnover.within_minutes * 60)
        while self._traded and self._traded[0][0] <= since_s:
            _, amount, instance_id = self._traded.popleft()
            if amount is not None:
                self._window = exact.subtract(self._window, amount)
                continue
            self._blind[instance_id] -= 1
            if not self._blind[instance_id]:
                del self._blind[instance_id]

    def usages(self, today: date) -> Iterator[Usage]:
        """How much of each of its limits is used, in their order."""
        ceilings = self.scope.ceilings
        if (most := ceilings.max_gross_notional) is not None:
            yield self._usage("max_gross_notional", most, self._gross("gross"), self._gross("held"), ("held", "gross"))
        if (most := ceilings.max_daily_loss) is not None:
            lost = self._loss()
            usage = self._usage("max_daily_loss", most, lost, lost, ("loss",))
            if self._lost_on is not None and self._lost_on >= today:
                told = usage.why or f"{decimal_text(lost)} lost of {decimal_text(most)} {self.scope.currency}"
                usage = usage._replace(
                    is_reached=True, why=f"{told}; it was reached today, and holds until the day ends"
                )
            yield usage
        if (most := ceilings.max_drawdown) is not None:
            fallen = self.drawdown()
            usage = self._usage("max_drawdown", most, fallen, fallen, ("result",))
            if self._fallen_at:
                lift = f"it was reached at {self._fallen_at}, and holds until: reconciler limits lift {self._flag}"
                usage = usage._replace(is_reached=True, why=f"{usage.why}; {lift}" if usage.why else lift)
            yield usage
        if ceilings.max_open_orders is not None:
            yield self._usage("max_open_orders", Decimal(ceilings.max_open_orders), Decimal(self._open), _ZERO, ())
        for market, most in ceilings.max_position.items():
            held, worst = self.position(market)
            yield self._usage(f"max_position[{market}]", most, worst, held, ())
        if (turnover := ceilings.max_turnover) is not None:
            used = exact.add(self._window, self._total["traded"])
            usage = self._usage("max_turnover", turnover.amount, used, self._window, ("traded",))
            if self._blind:
                blind = f"the price of what {', '.join(sorted(self._blind))} traded is not known"
                usage = usage._replace(used=None, is_reached=True, why=blind)
            yield usage
        if (least := ceilings.min_equity) is not None:
            yield self._floor(least)

    def result(self) -> Decimal:
        """What its members made or lost since they began to count, as far as it can be measured."""
        return exact.add(self._folded, self._total["result"])

    def drawdown(self) -> Decimal:
        return _ZERO if self._high is None else max(_ZERO, exact.subtract(self._high, self.result()))

    def remember(self, now: str, today: date) -> None:
        """Note what must not be forgotten: the highest result, and what was reached."""
        self.version += 1
        ceilings = self.scope.ceilings
        if ceilings.max_drawdown is not None and not self._unmeasured["result"]:
            made = self.result()
            if self._high is None or made > self._high:
                self._high, self._is_news = made, True
            if not self._fallen_at and self.drawdown() >= ceilings.max_drawdown:
                self._fallen_at, self._is_news = now, True
        most, is_known = ceilings.max_daily_loss, not self._unmeasured["loss"]
        if most is not None and is_known and self._loss() >= most and self._lost_on != today:
            self._lost_on, self._is_news = today, True

    def takes_news(self) -> bool:
        """True where something must not be forgotten, bases among it, that nobody has taken down yet."""
        is_news, self._is_news = self._is_news, False
        return is_news

    def lifted(self) -> None:
        """A person lifted the drawdown: it is measured from now on."""
        self._high, self._fallen_at = None, ""
        self.version += 1

    def position(self, market: str, side: Side | None = None) -> tuple[Decimal, Decimal]:
        """What is held of a market, long or short, and the most it can become; at the worse of book and exchange.

        With `side`: the most that orders of that side can make of it.
        """
        booked, buys, sells = self._markets.get(market, (_ZERO, _ZERO, _ZERO))
        beside = [quantity for (_, one), (quantity, _) in self.beside.items() if one == market]
        known = (booked, exact.add(booked, exact.total(beside)) if beside else booked)
        longest, shortest = exact.add(max(known), buys), exact.subtract(sells, min(known))
        worst = {Side.BUY: longest, Side.SELL: shortest, None: max(longest, shortest)}[side]
        return max(map(exact.size, known)), max(_ZERO, worst)

    def unmeasured(self) -> tuple[str, ...]:
        """The instances of which something cannot be measured that a limit asks for."""
        if not any(self._unmeasured.values()):
            return ()
        return tuple(sorted({one.instance_id for found in self._unmeasured.values() for one in found.values()}))

    def by(self, usage: Usage, shares: Mapping[str, Share]) -> tuple[tuple[str, Decimal | None], ...]:
        """Which of these use a limit, and how much each: what cannot be measured first, then the most."""
        name = _COUNTED_BY.get(usage.limit)
        found: list[tuple[str, Decimal | None]] = []
        for key, share in shares.items():
            if name is not None:
                amount = share.amount(name, self.base_of(key) if name == "result" else _ZERO)
            elif usage.limit == "max_open_orders":
                amount = Decimal(share.footprint.open_orders)
            elif usage.limit == f"max_position[{share.market}]":
                amount = share.footprint.position
            else:
                continue
            if amount is None or amount:
                found.append((share.instance_id, amount))
        return tuple(sorted(found, key=lambda one: (one[1] is not None, -exact.size(one[1] or _ZERO), one[0])))

    def _count(self, key: str, share: Share) -> None:
        amounts = {name: share.amount(name, self.base_of(key) if name == "result" else _ZERO) for name in self._wanted}
        self._amounts[key] = amounts
        self._add(share, amounts, exact.add, 1)
        for name, amount in amounts.items():
            if amount is None:
                self._unmeasured[name][key] = share

    def _recounts(self, key: str, before: Share, member: Share) -> bool:
        """Count what is other than it was, which is little where an order came or went; False where all may be."""
        was, now, begins = before.footprint, member.footprint, self._has_bases and key not in self._bases
        if begins or (before.factor, before.market) != (member.factor, member.market):
            return False
        amounts = self._amounts[key]
        gone, come = {}, {}
        for name in self._wanted:
            value, known = getattr(now, name), getattr(was, name)
            if value is known or value == known:
                continue
            gone[name] = amounts[name]
            come[name] = amounts[name] = member.amount(name, self.base_of(key) if name == "result" else _ZERO)
        self._add_amounts(member, gone, exact.subtract)
        self._add_amounts(member, come, exact.add)
        for name, amount in come.items():
            if amount is None:
                self._unmeasured[name][key] = member
            elif gone[name] is None:
                del self._unmeasured[name][key]
        self._open += now.open_orders - was.open_orders
        if member.market in self.scope.ceilings.max_position:
            self._add_quantities(member, was, exact.subtract)
            self._add_quantities(member, now, exact.add)
        self._members[key] = member
        return True

    def _uncount(self, key: str, share: Share) -> None:
        amounts = self._amounts.pop(key)
        self._add(share, amounts, exact.subtract, -1)
        for name, amount in amounts.items():
            if amount is None:
                del self._unmeasured[name][key]

    def _add(self, share: Share, amounts: Mapping[str, Decimal | None], step: _Step, sign: int) -> None:
        self._add_amounts(share, amounts, step)
        self._open += sign * share.footprint.open_orders
        if share.market in self.scope.ceilings.max_position:
            self._add_quantities(share, share.footprint, step)

    def _add_amounts(self, share: Share, amounts: Mapping[str, Decimal | None], step: _Step) -> None:
        for name, amount in amounts.items():
            if not amount:
                continue
            if name == "loss":
                self._losses[share.factor] = step(self._losses[share.factor], amount)
            else:
                self._total[name] = step(self._total[name], amount)

    def _add_quantities(self, share: Share, mark: Footprint, step: _Step) -> None:
        sums = self._markets[share.market]
        for index, quantity in enumerate((mark.position, mark.buys, mark.sells)):
            if quantity:
                sums[index] = step(sums[index], quantity)

    def _begin(self, key: str, member: Share) -> None:
        """Whoever is new begins at its result of now."""
        if member.footprint.result is not None:
            self._bases[key] = member.footprint.result
            self._is_news = True

    def _gross(self, name: str) -> Decimal:
        if not self.beside:
            return self._total[name]
        more = exact.total(value for _, value in self.beside.values() if value is not None)
        return exact.add(self._total[name], more)

    def _loss(self) -> Decimal:
        """What was gained in another currency than the scope's offsets nothing: factors are made for what is lost."""
        return exact.total(lost for factor, lost in self._losses.items() if lost > 0 or factor.currency == self._own)

    def _usage(self, limit: str, most: Decimal, used: Decimal, settled: Decimal, needed: tuple[str, ...]) -> Usage:
        if any(self._unmeasured[name] for name in needed):
            blind = {one.instance_id: one for name in needed for one in self._unmeasured[name].values()}
            first = blind[min(blind)]
            others = f" (and {len(blind) - 1} more)" if len(blind) > 1 else ""
            why = f"it cannot be measured: {first.instance_id}{others}: {first.fault()}"
            return Usage(limit, None, settled, most, True, why)
        if limit == "max_gross_notional" and self.beside and any(value is None for _, value in self.beside.values()):
            return Usage(limit, None, settled, most, True, _NO_QUOTE)
        if used < most or (used == most and limit not in _REACHED_AT):
            return Usage(limit, used, settled, most, False, "")
        unit = f" {self.scope.currency}" if needed else ""
        return Usage(limit, used, settled, most, True, f"{decimal_text(used)} of {decimal_text(most)}{unit} are used")

    def _floor(self, least: Decimal) -> Usage:
        if self.equity is None:
            why = "it cannot be measured: the exchange tells neither equity nor balances that count"
            return Usage("min_equity", None, _ZERO, least, True, why)
        amount = self.equity.amount
        is_reached = amount < least
        why = (
            f"equity is {decimal_text(amount)} {self.scope.currency}, below {decimal_text(least)}" if is_reached else ""
        )
        return Usage("min_equity", amount, amount, least, is_reached, why)

    @property
    def _flag(self) -> str:
        return f"--{self.scope.kind} {self.scope.id}".strip()


_NEEDED: Final = {
    "max_gross_notional": ("held", "gross"),
    "max_daily_loss": ("loss",),
    "max_drawdown": ("result",),
    "max_turnover": ("traded",),
}
_COUNTED_BY: Final = {limit: names[-1] for limit, names in _NEEDED.items()}
"""What of a footprint a limit counts."""
_REACHED_AT: Final = ("max_daily_loss", "max_drawdown")
"""What may not come up to its limit; the others may, and no further."""
