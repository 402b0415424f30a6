-- The store of cardcase. Never edit a migration that has landed: add the next one.
--
-- Names are indexed by their key (NameKey): the SHA-256 of their form prepared by RFC 4518, so that an issuer a server
-- asks for is found by one look-up, however many identities there are. Everything else about a certificate is read from
-- its DER, which is the only truth. Times are seconds of Unix time.
PRAGMA application_id = 0x63617264; -- "card"

CREATE TABLE vault (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    -- 'none': data_key as it is; 'password': DER EncryptedPrivateKeyInfo around it, under the primary password
    protection TEXT NOT NULL CHECK (protection IN ('none', 'password')),
    data_key   BLOB NOT NULL
) STRICT;

CREATE TABLE settings (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    mode TEXT NOT NULL DEFAULT 'firefox' CHECK (mode IN ('firefox', 'chrome'))
) STRICT;
INSERT INTO settings (id) VALUES (1);

-- AUTOINCREMENT: a number is never given twice, so a cache of what stands under one cannot go wrong
CREATE TABLE identities (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint BLOB NOT NULL UNIQUE CHECK (length(fingerprint) = 32),
    name        TEXT NOT NULL UNIQUE,
    certificate BLOB NOT NULL,
    -- DER EncryptedPrivateKeyInfo under the data key
    private_key BLOB NOT NULL,
    subject_key BLOB NOT NULL CHECK (length(subject_key) = 32),
    issuer_key  BLOB NOT NULL CHECK (length(issuer_key) = 32),
    added_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX identities_by_subject ON identities (subject_key);
CREATE INDEX identities_by_issuer ON identities (issuer_key);

CREATE TABLE authorities (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint BLOB NOT NULL UNIQUE CHECK (length(fingerprint) = 32),
    certificate BLOB NOT NULL,
    trusted     INTEGER NOT NULL DEFAULT 0 CHECK (trusted IN (0, 1)),
    added_at    INTEGER NOT NULL
) STRICT;

-- One decision per scope and session: port is NULL where the host alone counts (firefox mode). identity is NULL where no certificate
-- is to be sent. session is the login session it was made in, NULL when it is permanent.
CREATE TABLE decisions (
    id           INTEGER PRIMARY KEY,
    host         TEXT NOT NULL,
    port         INTEGER CHECK (port BETWEEN 1 AND 65535),
    identity     INTEGER REFERENCES identities (id) ON DELETE CASCADE,
    session      TEXT,
    decided_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    last_outcome TEXT CHECK (last_outcome IN ('accepted', 'refused', 'unknown'))
) STRICT;
CREATE UNIQUE INDEX decisions_by_scope ON decisions (host, coalesce(port, 0), coalesce(session, ''));
CREATE INDEX decisions_by_identity ON decisions (identity);

-- History outlives the identities in it, so it keeps their fingerprints.
CREATE TABLE uses (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    host        TEXT NOT NULL,
    port        INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    identity    BLOB CHECK (length(identity) = 32),
    source      TEXT NOT NULL,
    outcome     TEXT NOT NULL CHECK (outcome IN ('accepted', 'refused', 'unknown')),
    alert       TEXT,
    tls_version TEXT
) STRICT;
CREATE INDEX uses_by_host ON uses (host, identity);
