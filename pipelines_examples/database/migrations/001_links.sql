CREATE TABLE links (
    code text PRIMARY KEY CHECK (code ~ '^[a-z0-9]{4,16}$'),
    target text NOT NULL
);
