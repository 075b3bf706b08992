"""What the database itself refuses, whoever asks: triggers of the journal for PostgreSQL and for SQLite.

Both databases:
  - no UPDATE and no DELETE of entries, postings and seals; no TRUNCATE of them while a row stands; the code and the
    kind of an account of the chart do not change.
  - a seal is refused unless its entry's postings sum to zero, are two at least, and (of a reversal) mirror each leg of
    what it takes back. A sealed entry takes no further posting.
  - an entry without its seal cannot be committed: the foreign key from entry to seal is checked at commit.
PostgreSQL also has a deferred constraint trigger that sums each new entry at commit, whether it was sealed or not.
SQLite has no deferred trigger, but deferred foreign keys: the seal makes them one. It also has INSERT OR REPLACE, which
deletes without firing a trigger: a row whose id, key or reversed entry stands already is refused before that.

What they cannot refuse: the owner of the tables may drop a trigger, and a connection to SQLite may switch foreign keys
off. The audit reports both: a trigger that is missing or was altered, and an entry without a seal.
"""

# ruff: noqa: S608  (statements are made of the names of our own tables)

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

TABLES = ("ledger_journalentry", "ledger_posting", "ledger_seal")
_SAYS_CHANGE = "ledger: what was posted is never changed or removed; post a reversal instead"
_SAYS_SEALED = "ledger: this entry is sealed; post another one"
_SAYS_WHOLE = "ledger: an entry needs two postings at least, in whole cents, that sum to zero"
_SAYS_MIRROR = "ledger: a reversal mirrors every posting of what it takes back"
_SAYS_CHART = "ledger: the code and the kind of an account do not change; add another account"


def install(connection: BaseDatabaseWrapper) -> None:
    """Make the triggers that are missing, and make altered ones anew."""
    wanted = expected(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for sql in _functions(_schema(connection)).values():
                cursor.execute(sql)
        standing = found(connection)
        for name, (table, sql) in wanted.items():
            if standing.get(name) == sql:
                continue
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
            else:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            cursor.execute(sql)
        if connection.vendor == "sqlite":
            # A seal settles the entries that wait for it: SQLite looks for them, and without this through all of them.
            cursor.execute("CREATE INDEX IF NOT EXISTS ledger_entry_of_seal ON ledger_journalentry (seal_id)")


def remove(connection: BaseDatabaseWrapper) -> None:
    """Take the triggers away: for a migration that remakes the tables, and for tests that empty them."""
    with connection.cursor() as cursor:
        for name, (table, _) in expected(connection).items():
            of = f" ON {table}" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}{of}")


def expected(connection: BaseDatabaseWrapper) -> dict[str, tuple[str, str]]:
    """Return the triggers that must stand: name to table and SQL."""
    if connection.vendor == "postgresql":
        return _postgresql(_schema(connection))
    return _sqlite()


def found(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return the triggers that stand and are in force: name to SQL, as `expected` words it."""
    if connection.vendor == "postgresql":
        return _found_postgresql(connection)
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'ledger_*'")
        return dict(cursor.fetchall())


def _found_postgresql(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Translate what the catalogue says back to what was asked for: a trigger counts with its function's own body."""
    schema = _schema(connection)
    bodies = {name: sql.split("$$")[1] for name, sql in _functions(schema).items()}
    wanted = _postgresql(schema)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.tgname, c.relname, p.proname, p.prosrc, t.tgtype, t.tgdeferrable, t.tginitdeferred "
            "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid "
            "WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND c.relnamespace = %s::regnamespace",
            [schema],
        )
        rows = cursor.fetchall()
    standing = {}
    for name, table, function, body, kind, deferrable, deferred in rows:
        if name not in wanted or bodies.get(function) != body:
            continue
        at = (deferrable, deferred) == ((True, True) if name == "ledger_entry_balanced" else (False, False))
        if at and wanted[name][0] == f"{schema}.{table}" and kind == _TGTYPE[name]:
            standing[name] = wanted[name][1]
    return standing


_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 4, 8, 16, 32
_TGTYPE = {
    **{f"{table}_no_change": _ROW | _BEFORE | _DELETE | _UPDATE for table in TABLES},
    **{f"{table}_no_truncate": _BEFORE | _TRUNCATE for table in TABLES},
    "ledger_posting_open": _ROW | _BEFORE | _INSERT,
    "ledger_seal_whole": _ROW | _BEFORE | _INSERT,
    "ledger_entry_balanced": _ROW | _INSERT,
    "ledger_chart_fixed": _ROW | _BEFORE | _UPDATE,
}
"""pg_trigger.tgtype of each trigger."""


def _schema(connection: BaseDatabaseWrapper) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(current_schema())")
        return str(cursor.fetchone()[0])


def _postgresql(schema: str) -> dict[str, tuple[str, str]]:
    made = {}

    def add(name: str, table: str, when: str, function: str, *, kind: str = "TRIGGER", each: str = "ROW") -> None:
        table = f"{schema}.{table}"
        deferred = " DEFERRABLE INITIALLY DEFERRED" if kind == "CONSTRAINT TRIGGER" else ""
        sql = f"CREATE {kind} {name} {when} ON {table}{deferred} FOR EACH {each} EXECUTE FUNCTION {schema}.{function}()"
        made[name] = (table, sql)

    for table in TABLES:
        add(f"{table}_no_change", table, "BEFORE UPDATE OR DELETE", "ledger_refuse_change")
        add(f"{table}_no_truncate", table, "BEFORE TRUNCATE", "ledger_refuse_truncate", each="STATEMENT")
    add("ledger_posting_open", "ledger_posting", "BEFORE INSERT", "ledger_posting_open")
    add("ledger_seal_whole", "ledger_seal", "BEFORE INSERT", "ledger_seal_whole")
    add("ledger_entry_balanced", "ledger_journalentry", "AFTER INSERT", "ledger_balanced", kind="CONSTRAINT TRIGGER")
    add("ledger_chart_fixed", "ledger_ledgeraccount", "BEFORE UPDATE OF code, kind", "ledger_chart_fixed")
    return made


def _functions(schema: str) -> dict[str, str]:
    """Return the trigger functions. Tables are named with their schema: a temporary table of their name is not seen."""
    entry, posting, seal = (f"{schema}.{table}" for table in TABLES)
    refuse = "RAISE EXCEPTION '%s' USING ERRCODE = 'restrict_violation';"
    bodies = {
        "ledger_refuse_change": f"BEGIN {refuse % _SAYS_CHANGE} END",
        # An empty table may be truncated: it harms nothing, and tools that empty a database do it.
        "ledger_refuse_truncate": (
            f"BEGIN IF EXISTS (SELECT 1 FROM {entry}) OR EXISTS (SELECT 1 FROM {posting}) OR "
            f"EXISTS (SELECT 1 FROM {seal}) THEN {refuse % _SAYS_CHANGE} END IF; RETURN NULL; END"
        ),
        "ledger_posting_open": (
            f"BEGIN IF EXISTS (SELECT 1 FROM {entry} e JOIN {seal} s ON s.entry_public_id = e.public_id "
            f"WHERE e.id = NEW.entry_id) THEN {refuse % _SAYS_SEALED} END IF; RETURN NEW; END"
        ),
        "ledger_seal_whole": (
            "DECLARE of record; BEGIN "
            f"SELECT id, reverses_id INTO of FROM {entry} WHERE public_id = NEW.entry_public_id; "
            "IF NOT FOUND OR NOT "
            f"(SELECT count(*) >= 2 AND sum(amount_cents) = 0 FROM {posting} WHERE entry_id = of.id) "
            f"THEN {refuse % _SAYS_WHOLE} END IF; "
            "IF of.reverses_id IS NOT NULL AND EXISTS ("
            f"SELECT 1 FROM {posting} WHERE entry_id IN (of.id, of.reverses_id) "
            "GROUP BY ledger_account_id, account_id, service, due_on HAVING sum(amount_cents) <> 0) "
            f"THEN {refuse % _SAYS_MIRROR} END IF; RETURN NEW; END"
        ),
        "ledger_balanced": (
            f"BEGIN IF NOT (SELECT count(*) >= 2 AND sum(amount_cents) = 0 FROM {posting} WHERE entry_id = NEW.id) "
            f"THEN {refuse % _SAYS_WHOLE} END IF; RETURN NULL; END"
        ),
        "ledger_chart_fixed": (
            "BEGIN IF NEW.code IS DISTINCT FROM OLD.code OR NEW.kind IS DISTINCT FROM OLD.kind "
            f"THEN {refuse % _SAYS_CHART} END IF; RETURN NEW; END"
        ),
    }
    return {
        name: f"CREATE OR REPLACE FUNCTION {schema}.{name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$"
        for name, body in bodies.items()
    }


def _sqlite() -> dict[str, tuple[str, str]]:
    made = {}

    def add(name: str, table: str, when: str, *refusals: tuple[str, str]) -> None:
        body = " ".join(f"SELECT RAISE(ABORT, '{says}') WHERE {condition};" for says, condition in refusals)
        made[name] = (table, f"CREATE TRIGGER {name} {when} ON {table} BEGIN {body} END")

    for table in TABLES:
        add(f"{table}_no_update", table, "BEFORE UPDATE", (_SAYS_CHANGE, "1"))
        add(f"{table}_no_delete", table, "BEFORE DELETE", (_SAYS_CHANGE, "1"))
    add(
        "ledger_entry_new",
        "ledger_journalentry",
        "BEFORE INSERT",
        (
            _SAYS_CHANGE,
            "EXISTS (SELECT 1 FROM ledger_journalentry WHERE id = NEW.id OR key = NEW.key "
            "OR public_id = NEW.public_id OR reverses_id = NEW.reverses_id)",
        ),
    )
    add(
        "ledger_posting_open",
        "ledger_posting",
        "BEFORE INSERT",
        (_SAYS_CHANGE, "EXISTS (SELECT 1 FROM ledger_posting WHERE id = NEW.id)"),
        (
            _SAYS_SEALED,
            "EXISTS (SELECT 1 FROM ledger_journalentry e JOIN ledger_seal s ON s.entry_public_id = e.public_id "
            "WHERE e.id = NEW.entry_id)",
        ),
    )
    of = "(SELECT id FROM ledger_journalentry WHERE public_id = NEW.entry_public_id)"
    reversed_by = "(SELECT reverses_id FROM ledger_journalentry WHERE public_id = NEW.entry_public_id)"
    add(
        "ledger_seal_whole",
        "ledger_seal",
        "BEFORE INSERT",
        (_SAYS_CHANGE, "EXISTS (SELECT 1 FROM ledger_seal WHERE entry_public_id = NEW.entry_public_id)"),
        (
            _SAYS_WHOLE,
            "NOT (SELECT count(*) >= 2 AND total(typeof(amount_cents) <> 'integer') = 0 AND sum(amount_cents) = 0 "
            f"FROM ledger_posting WHERE entry_id = {of})",
        ),
        (
            _SAYS_MIRROR,
            f"{reversed_by} IS NOT NULL AND EXISTS (SELECT 1 FROM ledger_posting "
            f"WHERE entry_id IN ({of}, {reversed_by}) "
            "GROUP BY ledger_account_id, account_id, service, due_on HAVING sum(amount_cents) <> 0)",
        ),
    )
    add(
        "ledger_chart_fixed",
        "ledger_ledgeraccount",
        "BEFORE UPDATE OF code, kind",
        (_SAYS_CHART, "NEW.code IS NOT OLD.code OR NEW.kind IS NOT OLD.kind"),
    )
    return made
