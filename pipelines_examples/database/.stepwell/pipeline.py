"""Migrate an empty database and test it: the database is a service beside the step."""

from stepwell import Pipeline, manual, push, service

POSTGRES = "postgres:16-alpine"


class Database(Pipeline):
    """Apply the migrations, twice, and check what they promise."""

    on = [push(), manual()]

    async def run(self, event, step):
        await step.run(
            "migrate and test",
            "sh migrate.sh && sh migrate.sh && sh test.sh",
            image=POSTGRES,  # for its psql
            env={"PGHOST": "db", "PGUSER": "app", "PGPASSWORD": "app"},
            services={
                "db": service(
                    POSTGRES,
                    env={"POSTGRES_USER": "app", "POSTGRES_PASSWORD": "app"},
                    ready="pg_isready -h 127.0.0.1",  # by TCP: while the image prepares itself it has only a socket
                ),
            },
            network=False,  # it needs nothing but its service
        )
