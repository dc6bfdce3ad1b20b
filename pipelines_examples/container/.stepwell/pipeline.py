"""A heavy step in a container, a light one in an isolate, on the same files."""

from stepwell import Pipeline, manual, push


class Site(Pipeline):
    """Build the pages in a container, then check what it left."""

    on = [push(), manual()]

    async def run(self, event, step):
        await step.run("build", "sh build.sh", image="busybox:1.36")
        await step.run("check", "test -s site/index.html && ls -l site")
