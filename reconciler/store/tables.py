"""The tables, as migrations. A migration that was released is never edited: what changes is a new one below it.

Money is TEXT (exact decimals), times are TEXT (ISO 8601, UTC, they sort), JSON is TEXT that must parse.
The CHECKs are for hands, not for the engine: they keep an edit with `sqlite3` from storing what cannot be read.
"""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from reconciler.errors import StoreError
from reconciler.store.books import add_up_all
from reconciler.store.columns import add_tag

migrations = Migrations("strategy-reconciler")


@migrations(name="0001_first_tables")
def first_tables(db: Database) -> None:
    db.executescript(
        """
        CREATE TABLE meta (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            epoch INTEGER NOT NULL,
            beat INTEGER,
            heartbeat_s REAL
        ) STRICT;
        INSERT INTO meta (id, epoch) VALUES (1, 0);

        CREATE TABLE instances (
            id TEXT NOT NULL PRIMARY KEY,
            strategy_type TEXT NOT NULL,
            account_id TEXT NOT NULL,
            client_id TEXT NOT NULL,
            market TEXT NOT NULL,
            mode TEXT NOT NULL CHECK (mode IN ('off', 'observe', 'active')),
            mode_override TEXT CHECK (mode_override IN ('off', 'observe', 'active')),
            config TEXT NOT NULL CHECK (json_type(config) = 'object'),
            effective_config TEXT NOT NULL CHECK (json_type(effective_config) = 'object'),
            description TEXT NOT NULL,
            labels TEXT NOT NULL CHECK (json_type(labels) = 'object'),
            template TEXT,
            open_orders TEXT NOT NULL CHECK (open_orders IN ('keep', 'cancel')),
            protect INTEGER NOT NULL CHECK (protect IN (0, 1)),
            limits TEXT NOT NULL CHECK (json_type(limits) = 'object'),
            "values" TEXT NOT NULL CHECK (json_type("values") = 'object'),
            path TEXT NOT NULL,
            generation INTEGER NOT NULL,
            values_digest TEXT NOT NULL,
            config_digest TEXT NOT NULL,
            file_digest TEXT NOT NULL,
            code_digest TEXT NOT NULL,
            revision TEXT,
            committed INTEGER NOT NULL CHECK (committed IN (0, 1)),
            applied_at TEXT NOT NULL,
            removed_at TEXT
        ) STRICT;

        CREATE TABLE generations (
            id INTEGER PRIMARY KEY,
            instance_id TEXT NOT NULL,
            generation INTEGER NOT NULL,
            kind TEXT NOT NULL,
            summary TEXT NOT NULL,
            at TEXT NOT NULL,
            revision TEXT,
            committed INTEGER NOT NULL CHECK (committed IN (0, 1)),
            mode TEXT NOT NULL,
            code_digest TEXT NOT NULL,
            "values" TEXT NOT NULL CHECK (json_type("values") = 'object')
        ) STRICT;
        CREATE INDEX generations_of_instance ON generations (instance_id, id);

        CREATE TABLE attempts (
            path TEXT NOT NULL PRIMARY KEY,
            instance_id TEXT,
            file_digest TEXT NOT NULL,
            revision TEXT,
            sync TEXT NOT NULL,
            message TEXT NOT NULL,
            problems TEXT NOT NULL CHECK (json_type(problems) = 'array'),
            at TEXT NOT NULL
        ) STRICT;

        CREATE TABLE events (
            id INTEGER PRIMARY KEY,
            instance_id TEXT,
            type TEXT NOT NULL CHECK (type IN ('Normal', 'Warning')),
            reason TEXT NOT NULL,
            message TEXT NOT NULL,
            count INTEGER NOT NULL,
            first_at TEXT NOT NULL,
            last_at TEXT NOT NULL
        ) STRICT;
        CREATE INDEX events_by_time ON events (last_at, id);
        CREATE INDEX events_of_instance ON events (instance_id, last_at, id);

        CREATE TABLE orders (
            id INTEGER PRIMARY KEY,
            client_order_id TEXT NOT NULL UNIQUE,
            instance_id TEXT NOT NULL,
            account_id TEXT NOT NULL,
            client_id TEXT NOT NULL,
            symbol TEXT NOT NULL,
            mode TEXT NOT NULL,
            generation INTEGER NOT NULL,
            config_digest TEXT NOT NULL,
            code_digest TEXT NOT NULL,
            revision TEXT,
            beat INTEGER NOT NULL,
            side TEXT NOT NULL,
            type TEXT NOT NULL,
            quantity TEXT NOT NULL,
            limit_price TEXT,
            stop_price TEXT,
            time_in_force TEXT NOT NULL,
            reduce_only INTEGER NOT NULL CHECK (reduce_only IN (0, 1)),
            outcome TEXT NOT NULL CHECK (outcome IN ('shadow', 'pending', 'accepted', 'rejected', 'unknown')),
            state TEXT CHECK (state IN ('open', 'partially_filled', 'filled', 'cancelled', 'expired')),
            filled_quantity TEXT NOT NULL,
            average_price TEXT,
            fee TEXT,
            exchange_order_id TEXT,
            reason TEXT NOT NULL,
            rejected_by TEXT CHECK (rejected_by IN ('gateway', 'exchange')),
            quote_bid TEXT,
            quote_ask TEXT,
            repeats INTEGER NOT NULL DEFAULT 1,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL,
            -- the book it belongs to: what an observing instance was refused is part of its shadow book, too
            shadow INTEGER NOT NULL GENERATED ALWAYS AS
                (outcome = 'shadow' OR (outcome = 'rejected' AND mode <> 'active')) STORED,
            is_open INTEGER NOT NULL GENERATED ALWAYS AS
                (outcome <> 'rejected' AND (state IS NULL OR state IN ('open', 'partially_filled'))) STORED
        ) STRICT;
        CREATE INDEX orders_of_instance ON orders (instance_id, id);
        CREATE INDEX orders_of_book ON orders (instance_id, shadow, id);
        CREATE INDEX orders_by_book ON orders (shadow, id);
        CREATE INDEX orders_by_outcome ON orders (outcome, id);
        CREATE INDEX orders_by_state ON orders (state, id);
        CREATE INDEX orders_open ON orders (instance_id, shadow, id) WHERE is_open;
        CREATE INDEX orders_open_by_outcome ON orders (outcome, id) WHERE is_open;
        CREATE INDEX orders_filled ON orders
            (instance_id, symbol, shadow, updated_at, id, side, filled_quantity, average_price)
            WHERE filled_quantity <> '0';

        CREATE TABLE fills (
            id INTEGER PRIMARY KEY,
            client_order_id TEXT NOT NULL REFERENCES orders (client_order_id),
            exchange_fill_id TEXT NOT NULL,
            quantity TEXT NOT NULL,
            price TEXT NOT NULL,
            fee TEXT,
            at TEXT NOT NULL,
            UNIQUE (client_order_id, exchange_fill_id)
        ) STRICT;

        CREATE TABLE halts (
            id INTEGER PRIMARY KEY,
            scope TEXT NOT NULL CHECK (scope IN ('all', 'account', 'instance')),
            target TEXT NOT NULL,
            is_full INTEGER NOT NULL CHECK (is_full IN (0, 1)),
            reason TEXT NOT NULL,
            halted_by TEXT NOT NULL,
            halted_at TEXT NOT NULL,
            lift_reason TEXT,
            lifted_by TEXT,
            lifted_at TEXT
        ) STRICT;

        CREATE TABLE operations (
            id INTEGER PRIMARY KEY,
            at TEXT NOT NULL,
            uid INTEGER NOT NULL,
            action TEXT NOT NULL,
            scope TEXT NOT NULL,
            reason TEXT NOT NULL
        ) STRICT;
        """
    )


@migrations(name="0002_templates")
def templates(db: Database) -> None:
    db.executescript(
        """
        ALTER TABLE instances ADD COLUMN template_path TEXT NOT NULL DEFAULT '';
        ALTER TABLE instances ADD COLUMN template_digest TEXT NOT NULL DEFAULT '';
        """
    )


@migrations(name="0003_books")
def books(db: Database) -> None:
    """Books beside the fills; and fills of which the price was not told, or which are made of totals."""
    db.executescript(
        """
        CREATE TABLE told (
            id INTEGER PRIMARY KEY,
            client_order_id TEXT NOT NULL REFERENCES orders (client_order_id),
            exchange_fill_id TEXT NOT NULL,
            quantity TEXT NOT NULL,
            price TEXT,
            fee TEXT,
            at TEXT NOT NULL,
            made_up INTEGER NOT NULL DEFAULT 0 CHECK (made_up IN (0, 1)),
            UNIQUE (client_order_id, exchange_fill_id)
        ) STRICT;
        INSERT INTO told SELECT id, client_order_id, exchange_fill_id, quantity, price, fee, at,
            exchange_fill_id LIKE 'to-%' FROM fills;
        DROP TABLE fills;
        ALTER TABLE told RENAME TO fills;

        ALTER TABLE orders ADD COLUMN triggered INTEGER NOT NULL DEFAULT 0 CHECK (triggered IN (0, 1));
        DROP INDEX orders_filled;

        CREATE TABLE books (
            id INTEGER PRIMARY KEY,
            instance_id TEXT NOT NULL,
            account_id TEXT NOT NULL,
            client_id TEXT NOT NULL,
            symbol TEXT NOT NULL,
            shadow INTEGER NOT NULL CHECK (shadow IN (0, 1)),
            quantity TEXT NOT NULL,
            cost TEXT,
            realised TEXT NOT NULL,
            fees TEXT NOT NULL,
            -- the UTC day of the last fill, and what was realised when that day began
            day TEXT,
            realised_before TEXT NOT NULL,
            unmeasured_on TEXT,
            start_quantity TEXT NOT NULL,
            start_cost TEXT,
            started_at TEXT NOT NULL,
            updated_at TEXT NOT NULL,
            ended_at TEXT,
            -- the last order there was when it ended: what comes after is in another book
            last_order INTEGER
        ) STRICT;
        CREATE UNIQUE INDEX books_open ON books (instance_id, symbol, shadow) WHERE ended_at IS NULL;
        CREATE INDEX books_open_by_kind ON books (shadow, instance_id) WHERE ended_at IS NULL;
        CREATE INDEX books_of_instance ON books (instance_id, shadow, last_order);
        CREATE INDEX books_of_account ON books (account_id, symbol);
        ALTER TABLE meta ADD COLUMN has_books INTEGER NOT NULL DEFAULT 0 CHECK (has_books IN (0, 1));
        """
    )


@migrations(name="0004_resolution")
def resolution(db: Database) -> None:
    db.executescript(
        """
        -- 1 from the moment on at which nobody knew whether the order was placed, whatever was found out later
        ALTER TABLE orders ADD COLUMN was_unknown INTEGER NOT NULL DEFAULT 0 CHECK (was_unknown IN (0, 1));
        UPDATE orders SET was_unknown = 1 WHERE outcome = 'unknown';
        CREATE INDEX orders_written_off ON orders (updated_at) WHERE was_unknown AND outcome = 'rejected';
        CREATE INDEX orders_by_time ON orders (created_at);
        CREATE INDEX orders_by_exchange_id ON orders (exchange_order_id) WHERE exchange_order_id IS NOT NULL;
        """
    )


@migrations(name="0005_tools")
def tools(db: Database) -> None:
    """What exec-mcp servers offered when somebody last stood by it."""
    db.executescript(
        """
        CREATE TABLE tools (
            server TEXT NOT NULL PRIMARY KEY,
            mapping TEXT NOT NULL,
            shape TEXT NOT NULL CHECK (json_type(shape) = 'object'),
            changed TEXT NOT NULL,
            at TEXT NOT NULL
        ) STRICT;
        """
    )


@migrations(name="0006_unpriced")
def unpriced(db: Database) -> None:
    """Where a book begins anew once a price is told that was not told with its fill."""
    db.executescript(
        """
        -- the first fill whose price is not known, and what was held before it; both null where all prices are known
        ALTER TABLE books ADD COLUMN unpriced_from INTEGER REFERENCES fills (id);
        ALTER TABLE books ADD COLUMN held_before TEXT CHECK (held_before IS NULL OR json_type(held_before) = 'object');
        """
    )


@migrations(name="0007_money")
def money(db: Database) -> None:
    """Whose money an order is about, as it was when the order was placed: the settings may say otherwise later."""
    db.executescript("ALTER TABLE orders ADD COLUMN money TEXT CHECK (money IN ('paper', 'real'));")


@migrations(name="0008_ended_orders")
def ended_orders(db: Database) -> None:
    """Orders that are over and of which more may be learned: a start asks for those of the last day."""
    db.executescript(
        """
        CREATE INDEX orders_ended ON orders (updated_at) WHERE outcome = 'accepted' AND NOT is_open
            AND (filled_quantity <> quantity OR average_price IS NULL OR fee IS NULL);
        """
    )


@migrations(name="0009_tags")
def tags(db: Database) -> None:
    """What ids of the orders of this database carry, so that they are told from another one's."""
    db.executescript("CREATE TABLE tags (id INTEGER PRIMARY KEY, tag TEXT NOT NULL UNIQUE) STRICT;")
    add_tag(db)


@migrations(name="0010_quote_at")
def quote_at(db: Database) -> None:
    """Of when the quote was that an order saw."""
    db.executescript("ALTER TABLE orders ADD COLUMN quote_at TEXT;")


@migrations(name="0011_beat_runs")
def beat_runs(db: Database) -> None:
    """Which beats fired, not only the last: those that fired while the clock was ahead never fire again.

    Of what fired before, the last beat alone is known: the numbers before it are taken to have fired.
    """
    db.executescript(
        """
        CREATE TABLE beat_runs (
            id INTEGER PRIMARY KEY,
            first INTEGER NOT NULL,
            last INTEGER NOT NULL CHECK (last >= first),
            heartbeat_s REAL NOT NULL CHECK (heartbeat_s > 0),
            is_forgotten INTEGER NOT NULL DEFAULT 0 CHECK (is_forgotten IN (0, 1))
        ) STRICT;
        INSERT INTO beat_runs (first, last, heartbeat_s)
            SELECT max(0, beat - 100000), beat, heartbeat_s FROM meta WHERE beat IS NOT NULL;
        -- when the last beat fired, by the wall clock and by how long the machine had been up, and since which boot
        ALTER TABLE meta ADD COLUMN beat_time_s REAL;
        ALTER TABLE meta ADD COLUMN beat_uptime_s REAL;
        ALTER TABLE meta ADD COLUMN beat_boot TEXT;
        """
    )


@migrations(name="0012_fee_currency")
def fee_currency(db: Database) -> None:
    """What fees are in, none being the quote currency as before; and books that a person put right."""
    db.executescript(
        """
        ALTER TABLE orders ADD COLUMN fee_currency TEXT;
        ALTER TABLE fills ADD COLUMN fee_currency TEXT;
        -- fees in neither currency of the market, by currency
        ALTER TABLE books ADD COLUMN other_fees TEXT NOT NULL DEFAULT '{}' CHECK (json_type(other_fees) = 'object');
        -- how it was corrected on its `day`: what the loss of that day is measured by, too
        ALTER TABLE books ADD COLUMN corrected TEXT NOT NULL DEFAULT '[]' CHECK (json_type(corrected) = 'array');

        CREATE TABLE corrections (
            id INTEGER PRIMARY KEY,
            instance_id TEXT NOT NULL,
            account_id TEXT NOT NULL,
            client_id TEXT NOT NULL,
            symbol TEXT NOT NULL,
            quantity_before TEXT NOT NULL,
            cost_before TEXT,
            quantity TEXT NOT NULL,
            price TEXT NOT NULL,
            fee TEXT,
            fee_currency TEXT,
            reason TEXT NOT NULL,
            corrected_by TEXT NOT NULL,
            at TEXT NOT NULL,
            -- the last fill there was: those after it are added to what the correction says
            after_fill INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX corrections_of_instance ON corrections (instance_id, id);
        """
    )


@migrations(name="0013_differences")
def differences(db: Database) -> None:
    """What accounts held beside what was booked when they were compared last, and orders that were lost."""
    db.executescript(
        """
        -- the last fill and the last correction there were
        CREATE TABLE compared (
            account_id TEXT NOT NULL PRIMARY KEY,
            last_fill INTEGER NOT NULL,
            last_correction INTEGER NOT NULL,
            at TEXT NOT NULL
        ) STRICT;
        CREATE TABLE differences (
            account_id TEXT NOT NULL,
            symbol TEXT NOT NULL,
            quantity TEXT NOT NULL,
            last_fill INTEGER NOT NULL,
            last_correction INTEGER NOT NULL,
            at TEXT NOT NULL,
            PRIMARY KEY (account_id, symbol)
        ) STRICT;
        CREATE TABLE strays (
            account_id TEXT NOT NULL,
            client_order_id TEXT NOT NULL,
            at TEXT NOT NULL,
            PRIMARY KEY (account_id, client_order_id)
        ) STRICT;
        """
    )


@migrations(name="0014_refused_orders")
def refused_orders(db: Database) -> None:
    """Orders that their exchanges refused: a start looks the newest of them up once more."""
    db.executescript(
        """
        CREATE INDEX orders_refused ON orders (updated_at) WHERE outcome = 'rejected' AND rejected_by = 'exchange';
        """
    )


@migrations(name="0015_source")
def source(db: Database) -> None:
    """What is followed, and how far; commits that generations came from; and schemas of code that was there once."""
    db.executescript(
        """
        CREATE TABLE source (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            kind TEXT NOT NULL CHECK (kind IN ('worktree', 'git')),
            remote TEXT,
            branch TEXT,
            first TEXT,
            applied TEXT,
            applied_at TEXT,
            seen TEXT,
            seen_at TEXT,
            -- the commit that is held, empty where the branch is gone; null where none is
            held TEXT,
            held_why TEXT NOT NULL DEFAULT '',
            held_at TEXT,
            -- what an operator said is to be taken, and why
            accepted TEXT,
            -- halts of commits that were held, in force until an applied one says otherwise
            halts TEXT NOT NULL DEFAULT '[]' CHECK (json_type(halts) = 'array'),
            -- names that wait for code, and the commit at which they do
            behind TEXT NOT NULL DEFAULT '{}' CHECK (json_type(behind) = 'object'),
            unreachable TEXT NOT NULL DEFAULT '',
            unreachable_since TEXT
        ) STRICT;
        CREATE TABLE commits (
            revision TEXT NOT NULL PRIMARY KEY,
            said TEXT NOT NULL CHECK (json_type(said) = 'object')
        ) STRICT;
        CREATE TABLE schemas (
            strategy_type TEXT NOT NULL,
            code_digest TEXT NOT NULL,
            config_schema TEXT NOT NULL CHECK (json_valid(config_schema)),
            PRIMARY KEY (strategy_type, code_digest)
        ) STRICT;
        """
    )


@migrations(name="0016_scopes")
def scopes(db: Database) -> None:
    """What bounds money above the instances: what must be known of each scope after a restart."""
    db.executescript(
        """
        CREATE TABLE scopes (
            scope TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('real', 'paper', 'shadow', 'unknown')),
            -- the highest result since a person last lifted it, what those made who count no more, and by instance what
            -- it had made when it began to count
            high TEXT,
            folded TEXT NOT NULL,
            bases TEXT NOT NULL CHECK (json_type(bases) = 'object'),
            -- when the drawdown was reached, empty where it was not; the day whose loss was
            fallen_at TEXT NOT NULL,
            lost_on TEXT,
            PRIMARY KEY (scope, kind)
        ) STRICT;
        CREATE TABLE marks (
            id INTEGER PRIMARY KEY,
            instance_id TEXT NOT NULL,
            price TEXT NOT NULL,
            reason TEXT NOT NULL,
            marked_by TEXT NOT NULL,
            at TEXT NOT NULL
        ) STRICT;
        -- labels that an instance left with something open: their limits bind it until it is flat
        CREATE TABLE kept_labels (
            instance_id TEXT NOT NULL,
            label TEXT NOT NULL,
            PRIMARY KEY (instance_id, label)
        ) STRICT;
        """
    )


@migrations(name="0017_first_seen")
def first_seen(db: Database) -> None:
    """When commits were first seen that are not applied: at that time keys must have been good."""
    column = "first_seen TEXT NOT NULL DEFAULT '{}' CHECK (json_type(first_seen) = 'object')"
    db.execute(f"ALTER TABLE source ADD COLUMN {column}")


@migrations(name="0018_halts_that_cancel")
def halts_that_cancel(db: Database) -> None:
    """Which of the resting orders of its scope a halt cancels."""
    db.executescript(
        """
        ALTER TABLE halts ADD COLUMN cancels TEXT NOT NULL DEFAULT 'nothing'
            CHECK (cancels IN ('nothing', 'exposing', 'all'));
        """
    )


@migrations(name="0019_flattening")
def flattening(db: Database) -> None:
    """Halts that close what their scope holds, and the orders that do."""
    db.executescript(
        """
        ALTER TABLE halts ADD COLUMN collar TEXT;
        ALTER TABLE orders ADD COLUMN provenance TEXT NOT NULL DEFAULT 'strategy'
            CHECK (provenance IN ('strategy', 'operator'));
        """
    )


@migrations(name="0020_lowered_at_once")
def lowered_at_once(db: Database) -> None:
    """The modes of a commit that is lower than what is applied, and of which nothing else is known yet."""
    column = "lowered TEXT NOT NULL DEFAULT '{}' CHECK (json_type(lowered) = 'object')"
    db.execute(f"ALTER TABLE source ADD COLUMN {column}")


@migrations(name="0021_judgements")
def judgements(db: Database) -> None:
    """By what rules, settings and CONFIG_SCHEMA rows were judged, and a digest of that and of the whole row."""
    columns = "instance_id TEXT NOT NULL PRIMARY KEY, judged_by TEXT NOT NULL, seal TEXT NOT NULL"
    db.execute(f"CREATE TABLE judgements ({columns}) STRICT")


def migrate(db: Database, path: Path) -> None:
    """Bring the database up to date. Raises StoreError where it is not ours, or newer than this version."""
    _refuse_newer(db, path)
    if not migrations.applied(db) and set(db.table_names()) - {migrations.migrations_table}:
        raise StoreError(f"{path}: expected an engine's database, was another program's: name another file")
    migrations.apply(db)
    with db.atomic():
        # Not in the migration: it must run with the tables as they are now, not as they were then.
        if not db.execute("SELECT has_books FROM meta").fetchone()[0]:
            add_up_all(db)
            db.execute("UPDATE meta SET has_books = 1")


def require_current(db: Database, path: Path) -> None:
    """Raises StoreError where the tables are not those of this version: a reader cannot change that."""
    _refuse_newer(db, path)
    if migrations.pending(db):
        raise StoreError(f"{path}: written by an older version: start the engine once, it brings it up to date")


def _refuse_newer(db: Database, path: Path) -> None:
    with Database(memory=True, execute_plugins=False) as empty:
        known = {migration.name for migration in migrations.pending(empty)}
    unknown = [migration.name for migration in migrations.applied(db) if migration.name not in known]
    if unknown:
        raise StoreError(
            f"{path}: written by a newer version, whose {', '.join(unknown)} this one does not know: "
            "install the newer version, or name another database"
        )
