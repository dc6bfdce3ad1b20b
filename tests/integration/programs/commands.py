from stepwell import Pipeline, Retry, StepFailed


class Commands(Pipeline):
    defaults = {"timeout": "20 minutes"}

    async def run(self, event, step):
        built = await step.run("build", "ok")
        version = await step.read("VERSION")
        try:
            await step.run("test", "fail", retries=1)
        except StepFailed as error:
            caught = error.type
        flaky = await step.run("flaky", ["flaky"], retries=Retry(3, delay="1 minute"))
        unchecked = await step.run("unchecked", "exit 3", check=False)
        slow = await step.run("slow", "late", timeout="1 hour")
        return [built.exit_code, version, caught, flaky.exit_code, unchecked.exit_code, slow.exit_code]
