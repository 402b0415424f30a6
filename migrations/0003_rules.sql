-- Rules, settings that answer without asking, and identities that demand TLS 1.3.
--
-- A rule is kept as the JSON text it has in Chrome's AutoSelectCertificateForUrls; what it means is read from there, as what
-- a certificate means is read from its DER. AUTOINCREMENT: `cardcase rules remove N` must never hit another rule that was
-- given the number of a removed one. The settings are read with every selection and need no generation.
CREATE TABLE rules (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    rule     TEXT NOT NULL UNIQUE,
    added_at INTEGER NOT NULL
) STRICT;
CREATE TRIGGER rule_added AFTER INSERT ON rules BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER rule_changed AFTER UPDATE ON rules BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER rule_removed AFTER DELETE ON rules BEGIN UPDATE settings SET generation = generation + 1; END;

ALTER TABLE settings ADD COLUMN select_automatically INTEGER NOT NULL DEFAULT 0 CHECK (select_automatically IN (0, 1));
ALTER TABLE settings ADD COLUMN use_single_candidate INTEGER NOT NULL DEFAULT 0 CHECK (use_single_candidate IN (0, 1));
ALTER TABLE settings ADD COLUMN prompt_on_multiple INTEGER NOT NULL DEFAULT 0 CHECK (prompt_on_multiple IN (0, 1));

ALTER TABLE identities ADD COLUMN requires_tls13 INTEGER NOT NULL DEFAULT 0 CHECK (requires_tls13 IN (0, 1));
