-- The store, version 1. Never edit a migration that has been released: add the next one.
--
-- Everything about a certificate is read from its DER, everything about a rule from its JSON, and everything about an
-- enrollment from its request. The columns beside them exist to find rows. Times are seconds of Unix time.
PRAGMA application_id = 0x63617264; -- "card"

-- One row: the data key, which seals every private key and makes every authentication code.
CREATE TABLE vault (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    -- 'none': data_key is stored as it is. 'password': data_key is encrypted under the primary password
    protection TEXT NOT NULL CHECK (protection IN ('none', 'password')),
    -- 32 bytes; or, under a password, nonce (12 bytes), ciphertext and tag (16 bytes) of AES-256-GCM
    data_key   BLOB NOT NULL,
    -- The parameters of Argon2id, which derives a key from the primary password; memory in KiB
    salt       BLOB CHECK (length(salt) = 16),
    memory     INTEGER,
    passes     INTEGER
) STRICT;

-- One row. mac is the authentication code of the settings, the rules and the trusted authorities: everything that
-- decides what is sent or trusted without asking.
--
-- generation counts the changes to identities, authorities, rules and enrollments; the triggers at the end increment it. What a
-- process parsed from these tables stays valid in memory while this number stays the same. SQLite's own data_version is
-- no substitute: it changes with every write, so each entry in the history would discard everything.
CREATE TABLE settings (
    id                   INTEGER PRIMARY KEY CHECK (id = 1),
    mode                 TEXT NOT NULL DEFAULT 'firefox' CHECK (mode IN ('firefox', 'chrome')),
    select_automatically INTEGER NOT NULL DEFAULT 0 CHECK (select_automatically IN (0, 1)),
    use_single_candidate INTEGER NOT NULL DEFAULT 0 CHECK (use_single_candidate IN (0, 1)),
    prompt_on_multiple   INTEGER NOT NULL DEFAULT 0 CHECK (prompt_on_multiple IN (0, 1)),
    generation           INTEGER NOT NULL DEFAULT 0,
    mac                  BLOB CHECK (length(mac) = 32)
) STRICT;
INSERT INTO settings (id) VALUES (1);

-- AUTOINCREMENT, here and below: SQLite never assigns the number of a removed row again. A private key is bound to its
-- number, a cache is keyed by it, and a person who removes rule 3 must not remove a later rule that received that number.
--
-- subject_key and issuer_key are SHA-256 digests of the names, prepared as RFC 4518 describes. They find the
-- identities below an authority by index, however many identities there are.
CREATE TABLE identities (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint    BLOB NOT NULL UNIQUE CHECK (length(fingerprint) = 32),
    name           TEXT NOT NULL UNIQUE,
    certificate    BLOB NOT NULL,
    -- A format byte (1), then PKCS#8, sealed with the data key and bound to id, fingerprint, name, requires_tls13, tried, permission
    -- and confirmation of this row
    private_key    BLOB NOT NULL,
    subject_key    BLOB NOT NULL CHECK (length(subject_key) = 32),
    issuer_key     BLOB NOT NULL CHECK (length(issuer_key) = 32),
    requires_tls13 INTEGER NOT NULL DEFAULT 0 CHECK (requires_tls13 IN (0, 1)),
    -- What signed with the private key when it was imported: 1 for aws-lc-rs or ring, and 4 for OpenSSL, 2 if it could not, 0 if it
    -- was not there; or 6 if there is no private key any more, because the primary password was forgotten: private_key is then sealed
    -- emptiness
    tried          INTEGER NOT NULL CHECK (tried BETWEEN 0 AND 6),
    -- What other programs may have signed through the PKCS#11 module: 0 for nothing, 1 for whole TLS messages, 2 for anything; and
    -- whether a person is asked: 0 for never, 1 for each signature, 2 for once in 15 minutes
    permission     INTEGER NOT NULL DEFAULT 0 CHECK (permission BETWEEN 0 AND 2),
    confirmation   INTEGER NOT NULL DEFAULT 0 CHECK (confirmation BETWEEN 0 AND 2),
    added_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX identities_by_subject ON identities (subject_key);
CREATE INDEX identities_by_issuer ON identities (issuer_key);

-- CA certificates. They complete chains; those that are trusted also verify servers.
CREATE TABLE authorities (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint BLOB NOT NULL UNIQUE CHECK (length(fingerprint) = 32),
    certificate BLOB NOT NULL,
    trusted     INTEGER NOT NULL DEFAULT 0 CHECK (trusted IN (0, 1)),
    added_at    INTEGER NOT NULL
) STRICT;

-- Private keys that wait for their certificates.
CREATE TABLE enrollments (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    -- DER CertificationRequest (RFC 2986)
    request     BLOB NOT NULL UNIQUE,
    -- The same format, bound to id and to the SHA-256 of the request
    private_key BLOB NOT NULL,
    made_at     INTEGER NOT NULL
) STRICT;

-- Rules, as entries of Chrome's AutoSelectCertificateForUrls.
CREATE TABLE rules (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    rule     TEXT NOT NULL UNIQUE,
    added_at INTEGER NOT NULL
) STRICT;

-- At most one decision for each scope and session. port is NULL where a decision holds for every port of the host
-- (firefox mode). identity is NULL where no certificate is to be sent. session is the login session of the decision, or
-- NULL for a permanent one. mac is the authentication code of a decision for an identity; a decision to send no
-- certificate needs no key and has no code.
CREATE TABLE decisions (
    id           INTEGER PRIMARY KEY,
    host         TEXT NOT NULL,
    port         INTEGER CHECK (port BETWEEN 1 AND 65535),
    identity     INTEGER REFERENCES identities (id) ON DELETE CASCADE,
    session      TEXT,
    decided_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    last_outcome TEXT CHECK (last_outcome IN ('accepted', 'refused', 'unknown')),
    mac          BLOB CHECK (length(mac) = 32)
) STRICT;
CREATE UNIQUE INDEX decisions_by_scope ON decisions (host, coalesce(port, 0), coalesce(session, ''));
CREATE INDEX decisions_by_identity ON decisions (identity);
-- Those of sessions that ended long ago are deleted
CREATE INDEX session_decisions_by_age ON decisions (decided_at) WHERE session IS NOT NULL;

-- The history: one row for each answer to a server, and for each signature for another program, whose destination is not known. It
-- outlives the identities, so it stores their fingerprints.
CREATE TABLE uses (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    host        TEXT,
    port        INTEGER CHECK (port BETWEEN 1 AND 65535),
    program     TEXT,
    identity    BLOB CHECK (length(identity) = 32),
    source      TEXT NOT NULL,
    outcome     TEXT NOT NULL CHECK (outcome IN ('accepted', 'refused', 'unknown')),
    alert       TEXT,
    tls_version TEXT,
    CHECK ((host IS NULL) = (port IS NULL) AND (host IS NULL) = (program IS NOT NULL))
) STRICT;
CREATE INDEX uses_by_host ON uses (host, identity);

CREATE TRIGGER identity_added AFTER INSERT ON identities BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER identity_changed AFTER UPDATE ON identities BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER identity_removed AFTER DELETE ON identities BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER authority_added AFTER INSERT ON authorities BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER authority_changed AFTER UPDATE ON authorities BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER authority_removed AFTER DELETE ON authorities BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER rule_added AFTER INSERT ON rules BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER rule_changed AFTER UPDATE ON rules BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER rule_removed AFTER DELETE ON rules BEGIN UPDATE settings SET generation = generation + 1; END;
-- An enrollment is sealed anew when the data key changes; no other change to one affects what is in memory
CREATE TRIGGER enrollment_changed AFTER UPDATE ON enrollments BEGIN UPDATE settings SET generation = generation + 1; END;
