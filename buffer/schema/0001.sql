-- Reads and events in append order, sealed batches, and where each stream stands.
-- Narrow rows: what repeats (registers, clock contexts, epochs) is written once and referred to by a small integer.

CREATE TABLE epoch (
  ref INTEGER PRIMARY KEY,
  epoch BLOB NOT NULL UNIQUE,           -- 16 random bytes
  why TEXT NOT NULL,                    -- created, restored, salvaged, forked
  created_at_us INTEGER NOT NULL,
  previous_epoch BLOB,                  -- what the first batches of this epoch say of the one before
  previous_bulk INTEGER NOT NULL DEFAULT 0,
  previous_urgent INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE stream (                   -- always of the newest epoch
  stream INTEGER PRIMARY KEY,           -- 0 bulk, 1 urgent
  last_sequence INTEGER NOT NULL,
  last_hash BLOB NOT NULL,              -- sha256 of the last sealed batch's signed bytes
  sealed_through INTEGER NOT NULL       -- the send cursor: every item of this stream up to here is in a batch
);

CREATE TABLE register (
  ref INTEGER PRIMARY KEY,
  meter_id TEXT NOT NULL,
  register_id TEXT NOT NULL,
  unit TEXT NOT NULL,
  scale INTEGER NOT NULL,
  modulus TEXT                          -- decimal; may exceed 64 bits
);

CREATE TABLE clock (
  ref INTEGER PRIMARY KEY,
  boot INTEGER NOT NULL,                -- refers to boot.ref
  synchronised INTEGER NOT NULL,
  synced_since_us INTEGER
);

CREATE TABLE boot (
  ref INTEGER PRIMARY KEY,
  boot_id BLOB NOT NULL UNIQUE
);

CREATE TABLE read (
  append_seq INTEGER PRIMARY KEY,
  register INTEGER NOT NULL,
  raw_count INTEGER NOT NULL,
  read_at_us INTEGER NOT NULL,
  boot INTEGER NOT NULL,
  monotonic_ns INTEGER NOT NULL,
  clock INTEGER NOT NULL,
  quality INTEGER NOT NULL,
  reason INTEGER NOT NULL,
  flags INTEGER NOT NULL
);

-- Time comes first so that new rows land on the index's last page: with the register first, a round of 250 meters
-- would write 250 pages. History fetched from a meter (flag 2) has its own key; its clock is that of the fetch.
CREATE UNIQUE INDEX read_once ON read (boot, monotonic_ns, register) WHERE flags & 2 = 0;
CREATE UNIQUE INDEX history_once ON read (register, read_at_us) WHERE flags & 2;
CREATE INDEX read_urgent ON read (append_seq) WHERE flags & 16;

CREATE TABLE event (
  append_seq INTEGER PRIMARY KEY,
  event_id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  urgent INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  monotonic_ns INTEGER NOT NULL,
  clock INTEGER NOT NULL,
  meter_id TEXT,
  detail TEXT NOT NULL                  -- JSON
);
CREATE INDEX event_by_stream ON event (urgent, append_seq);

-- The signed bytes stand apart, so that an ack rewrites one small row and not a blob.
CREATE TABLE batch (
  ref INTEGER PRIMARY KEY,
  epoch INTEGER NOT NULL,
  stream INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  collector TEXT NOT NULL,
  hash BLOB NOT NULL,
  items INTEGER NOT NULL,
  first_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  sealed_at_us INTEGER NOT NULL,
  state INTEGER NOT NULL DEFAULT 0,     -- 0 sealed, 1 acked, 2 rejected, 3 superseded
  settled_at_us INTEGER,
  reason TEXT,
  UNIQUE (epoch, stream, sequence)
);
CREATE INDEX batch_unsettled ON batch (stream, ref) WHERE state = 0;
CREATE INDEX batch_settled ON batch (settled_at_us) WHERE state = 1;

CREATE TABLE batch_bytes (
  ref INTEGER PRIMARY KEY,
  data BLOB NOT NULL
);

CREATE TABLE snapshot (
  name TEXT PRIMARY KEY,
  append_seq INTEGER NOT NULL,
  blob BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE fact (                     -- append_floor, time_floor_us
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
