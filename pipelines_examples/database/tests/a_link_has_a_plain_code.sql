DO $$
BEGIN
    INSERT INTO links VALUES ('Not Plain', 'https://example.org');
    RAISE EXCEPTION 'a code with spaces was taken';
EXCEPTION WHEN check_violation THEN
    NULL;
END $$;
