-- Keys sealed by AES-256-GCM instead of encrypted PKCS#8, the data key under the primary password by Argon2id instead of
-- scrypt, and authentication codes over decisions and over what is selected without asking. docs/design.md says what each is
-- bound to. A store of the old form is brought to the new one when it is opened, one with a primary password when it is
-- unlocked: the codes need the data key.
--
-- form 1: as 0001 has it. form 2: data_key is as it is where protection is 'none', else nonce (12 bytes), ciphertext and tag (16
-- bytes), under a key that Argon2id makes of the primary password with the other columns.
ALTER TABLE vault ADD COLUMN form INTEGER NOT NULL DEFAULT 1 CHECK (form IN (1, 2));
ALTER TABLE vault ADD COLUMN salt BLOB CHECK (length(salt) = 16);
-- KiB
ALTER TABLE vault ADD COLUMN memory INTEGER;
ALTER TABLE vault ADD COLUMN passes INTEGER;

-- Of a decision for an identity. No code says that no certificate is sent: that needs no key.
ALTER TABLE decisions ADD COLUMN mac BLOB CHECK (length(mac) = 32);
-- Over the settings, the rules, and which authorities are trusted.
ALTER TABLE settings ADD COLUMN mac BLOB CHECK (length(mac) = 32);
