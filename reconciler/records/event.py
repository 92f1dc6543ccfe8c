"""Why an event is told: every reason there is, a word and a sentence. The table of the docs is made of it. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

EventType = Literal["Normal", "Warning"]


class EventReason(StrEnum):
    """The reason of an event: the word that is stored, and shown wherever events are, and what it means."""

    meaning: str

    def __new__(cls, word: str, meaning: str = "") -> EventReason:
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.meaning = meaning
        return reason

    # what becomes of a file
    CREATED = "Created", "a new file was applied"
    CHANGED = "Changed", "a change of its file was applied"
    LOWERED = "Lowered", "its mode was lowered"
    CODE = "Code", "its strategy's code changed"
    MOVED = "Moved", "its file was moved to another folder"
    REVISION = "Revision", "what is applied was committed, or stands in another commit now; nothing else changed"
    REMOVED = "Removed", "its file is gone, and so is the instance"
    RESTORED = "Restored", "a removed file came back; without an instance: a backup was put back, all is halted"
    DRIFT = "Drift", "what was applied had been changed behind the engine, and was put right"
    INVALID = "Invalid", "its file is wrong, and was not applied"
    REFUSED = "Refused", "its file asks for what may not be, such as two steps of mode at once, and was not applied"
    PRUNE_HELD = "PruneHeld", "removals wait until somebody confirms them"
    PRUNE_CONFIRMED = "PruneConfirmed", "an operator confirmed the removals that were held"
    PROTECTED = "Protected", "its file is missing, and it runs on, for it says `protect: true`"
    SOURCE_ERROR = "SourceError", "the files could not be read"
    SOURCE_BLOCKED = "SourceBlocked", "until something is over, modes may be lowered and nothing else is applied"
    SOURCE_UNBLOCKED = "SourceUnblocked", "changes and removals are applied again"
    SOURCE_HELD = "SourceHeld", "a commit is not applied: it was not signed as it must be, or does not descend"
    SOURCE_ACCEPTED = (
        "SourceAccepted",
        "an operator had a held commit applied, or another source followed",
    )
    SOURCE_UNREACHABLE = "SourceUnreachable", "the remote does not answer; what is applied stays"
    SOURCE_REACHED = "SourceReached", "the remote answers again"
    PASS_FAILED = "PassFailed", "comparing and applying failed; it is tried again"

    # how an instance runs
    LOADING = "Loading", "many instances are being loaded"
    LOADED = "Loaded", "it is loaded and ticks"
    LOAD_FAILED = "LoadFailed", "it could not be loaded; it is tried again"
    RELOADING = "Reloading", "it is unloaded and loaded again"
    UNLOADING = "Unloading", "it is being unloaded"
    UNLOADED = "Unloaded", "it is unloaded"
    HOOK_FAILED = "HookFailed", "a hook of its strategy raised"
    RECOVERED = "Recovered", "a tick succeeded again"
    QUARANTINED = "Quarantined", "the engine paused it, or does not load it, for what its code did"
    STUCK = "Stuck", "a hook outlived its deadline and still runs"
    UNSTUCK = "Unstuck", "the hook that was stuck returned"
    TICKS_MISSED = "TicksMissed", "many of its last ticks were missed"
    TICKS_KEPT = "TicksKept", "it keeps its ticks again"
    PROCESS_CHANGED = "ProcessChanged", "a strategy set something for the whole process, which was put back"
    ENGINE_ENDED = "EngineEnded", "the engine before this one ended while this code ran"

    # what becomes of an order
    ORDER_UNKNOWN = "OrderUnknown", "an order may have been placed: its instance opens nothing until that is known"
    ORDER_FOUND = "OrderFound", "an unknown order was placed"
    ORDER_NOT_PLACED = "OrderNotPlaced", "an unknown order is taken for one that was never placed"
    ORDER_TURNED_UP = "OrderTurnedUp", "an order that was taken for rejected was placed after all"
    ORDER_MISSING = "OrderMissing", "the exchange took an order and denies knowing it"
    ORDER_STILL_OPEN = "OrderStillOpen", "an order that was taken for over is listed as open"
    ORDER_RESOLVED = "OrderResolved", "an operator said what became of an order"
    ORPHAN_ORDER = "OrphanOrder", "the exchange lists an order that no instance placed"
    LATE_FILL = "LateFill", "a fill was told after its order was over; it is booked"
    FILLED_MORE = "FilledMore", "more was filled than was ordered; it is booked"
    ANSWER_UNREADABLE = "AnswerUnreadable", "a server's answer could not be taken; nothing was booked"
    REFUSED_AGAIN = "RefusedAgain", "the exchange refuses the same order again and again; it is held back"
    WITHDRAWING = "Withdrawing", "its open orders are cancelled, for it left active and says `open_orders: cancel`"
    LIMIT_CANCEL = "LimitCancel", "an open order is cancelled, for a limit above its instance is reached"
    HALT_CANCEL = "HaltCancel", "an open order is cancelled, for a halt says so"
    CANCELLED_BY_HAND = "CancelledByHand", "an operator had an open order cancelled"
    FLATTENING = "Flattening", "a closing order was sent, for a halt closes what its scope holds"
    NOT_FLATTENED = "NotFlattened", "what a halt is to close could not be closed yet, with why"
    FLATTENED = "Flattened", "what a halt was to close is closed, or too small to be; what was moved between books"
    NOT_ARMED = "NotArmed", "the dead man's switch of an account could not be armed or disarmed; tried each beat"
    NOT_WITHDRAWN = "NotWithdrawn", "such an order could not be cancelled yet; it is tried again each beat"

    # accounts, servers, the database
    POSITIONS_DIFFER = "PositionsDiffer", "an account holds something else than its instances' fills make"
    LEDGER_BEHIND = "LedgerBehind", "the exchange knows orders or fills of ours that the ledger lacks"
    LEDGER_WHOLE = "LedgerWhole", "what the exchange has is what the ledger makes again"
    LEDGER_SETTLED = "LedgerSettled", "an operator said whose is what an account holds"
    BASELINE_TAKEN = "BaselineTaken", "what an account held beside its instances counts as held before"
    BOOK_CORRECTED = "BookCorrected", "a person put right what an instance holds"
    LIMIT_NEAR = "LimitNear", "80 % of a limit above the instances is used"
    LIMIT_REACHED = (
        "LimitReached",
        "a limit above the instances is reached, or not measured: nothing is opened there",
    )
    LIMIT_FREE = "LimitFree", "a limit above the instances is no longer reached"
    LIMIT_LIFTED = "LimitLifted", "an operator lifted a drawdown that was reached"
    MARKED = "Marked", "a person said what one unit of what an instance holds is worth"
    RATE_LIMITED = "RateLimited", "a server says: too many requests; it is asked less"
    TOOLS_CHANGED = "ToolsChanged", "a server's tools changed: no order leaves through it until somebody has looked"
    DATABASE_MADE = "DatabaseMade", "a new, empty database was made"
    LOG_DAMAGED = "LogDamaged", "the database's log was damaged: what was written last may be lost"

    # what operators and halt files do
    PAUSED = "Paused", "an operator paused it"
    RESUMED = "Resumed", "an operator resumed it"
    HALTED = "Halted", "a halt was put in force, by an operator, a file or the engine"
    UNHALTED = "Unhalted", "a halt was lifted"
    TOOLS_ACCEPTED = "ToolsAccepted", "an operator looked at a server's changed tools: they are used"
    PLACED_BY_HAND = "PlacedByHand", "an operator placed an order by hand, past the gateway"
    BEATS_FORGOTTEN = "BeatsForgotten", "beats that fired while the clock was ahead are waited for no more"
