"""Check every push; ship main after a person said yes."""

from asyncio import gather

from stepwell import Pipeline, manual, push

STORES = ("memory", "sqlite")


def next_version(number):
    return f"1.0.{number}"


class Ship(Pipeline):
    """Lint, types and the test matrix side by side; then a release that somebody approves."""

    on = [push(), manual()]
    defaults = {"timeout": "5 minutes"}

    async def run(self, event, step):
        await gather(
            step.run("lint", "ruff check . && ruff format --check .", tools=["ruff==0.17.6"]),
            step.run("types", "mypy", tools=["mypy==2.4.1"]),
            *(
                step.run(
                    f"test {store}",
                    "pytest -v --junitxml=junit.xml",
                    tools=["pytest==9.2.0"],
                    env={"LINKS_STORE": store},
                    junit=["junit.xml"],
                )
                for store in STORES
            ),
        )
        version = await step.do("version", next_version, event.number)
        if event.branch == "main":
            await step.approval(f"Ship {version}?", environment="production", timeout="7 days")
            await step.run("deploy", f"sh deploy.sh {version}", environment="production", secrets=["DEPLOY_KEY"])
