-- Private keys that wait for their certificate. What was asked for is read from the request, as what an identity is from its
-- certificate. A key is bound to its row and to the SHA-256 of its request.
CREATE TABLE enrollments (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    -- DER CertificationRequest (RFC 2986)
    request     BLOB NOT NULL UNIQUE,
    private_key BLOB NOT NULL,
    made_at     INTEGER NOT NULL
) STRICT;
-- Sealed anew it is under another data key, as with identities
CREATE TRIGGER enrollment_changed AFTER UPDATE ON enrollments BEGIN UPDATE settings SET generation = generation + 1; END;
