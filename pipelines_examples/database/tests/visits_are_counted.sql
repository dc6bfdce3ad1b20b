DO $$
BEGIN
    INSERT INTO links VALUES ('docs', 'https://example.org/docs'), ('home', 'https://example.org');
    INSERT INTO visits (code) VALUES ('docs'), ('docs'), ('home');
    ASSERT (SELECT code FROM popular LIMIT 1) = 'docs', 'the most visited comes first';
    DELETE FROM links WHERE code = 'docs';
    ASSERT (SELECT count(*) FROM visits) = 1, 'visits go with their link';
END $$;
