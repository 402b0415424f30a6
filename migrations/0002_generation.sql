-- What was parsed from identities and authorities is kept in memory as long as this number stays. SQLite's own
-- data_version changes with every write: with each use recorded in the history every authority would be parsed anew,
-- and every TLS session given up.
ALTER TABLE settings ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER identity_added AFTER INSERT ON identities BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER identity_changed AFTER UPDATE ON identities BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER identity_removed AFTER DELETE ON identities BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER authority_added AFTER INSERT ON authorities BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER authority_changed AFTER UPDATE ON authorities BEGIN UPDATE settings SET generation = generation + 1; END;
CREATE TRIGGER authority_removed AFTER DELETE ON authorities BEGIN UPDATE settings SET generation = generation + 1; END;
