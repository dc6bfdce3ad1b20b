"""Make a release of every push to main: bump the version, commit, tag, test that commit, promote."""

from stepwell import Pipeline, manual, push


class Release(Pipeline):
    """What a step commits is kept with the step; the repository gets it when everything has passed."""

    on = [push("main"), manual()]

    async def run(self, event, step):
        bumped = await step.run("bump", "sh bump.sh")
        version = bumped.outputs["version"]
        await step.run("test", "sh test.sh")
        await step.promote("main", "refs/heads/main", made_by="bump")
        await step.promote("release", f"refs/tags/v{version}", made_by="bump")
