CREATE TABLE visits (
    code text NOT NULL REFERENCES links ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE VIEW popular AS
    SELECT code, count(*) AS visits FROM visits GROUP BY code ORDER BY visits DESC;
