"""Build a container image of the workspace, and try it in the next step."""

from stepwell import Pipeline, manual, push


class Image(Pipeline):
    """Make the pages, build an image of them, and look at what it serves."""

    on = [push(), manual()]

    async def run(self, event, step):
        await step.run("pages", "sh pages/make.sh")
        image = await step.image("image", args={"VERSION": f"1.0.{event.number}"})
        await step.run("try", "sh /site/smoke.sh", image=image, network=False)
        return image
