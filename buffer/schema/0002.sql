-- Numbers of commands that were carried out: each is used once, and remembered until long after it expires.

CREATE TABLE used_nonce (
  nonce BLOB PRIMARY KEY,
  expires_at_us INTEGER NOT NULL
) WITHOUT ROWID;
