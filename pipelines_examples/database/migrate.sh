#!/bin/sh
# Apply the migrations that the database has not seen yet, each in a transaction of its own.
set -eu
run() { psql -X -q -v ON_ERROR_STOP=1 "$@"; }

run -c "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY)" 2>/dev/null
for file in migrations/*.sql; do
    name=$(basename "$file")
    if [ -z "$(run -At -c "SELECT 1 FROM migrations WHERE name = '$name'")" ]; then
        echo "applying $name"
        run -1 -f "$file" -c "INSERT INTO migrations VALUES ('$name')"
    fi
done
echo "up to date"
