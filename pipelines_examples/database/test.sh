#!/bin/sh
# Run each test in a transaction that is rolled back.
set -eu
for file in tests/*.sql; do
    psql -X -q -v ON_ERROR_STOP=1 -c BEGIN -f "$file" -c ROLLBACK
    echo "passed $(basename "$file" .sql)"
done
