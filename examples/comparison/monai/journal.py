import logging

from ignite.engine import Events


class Journal:
    def attach(self, engine):
        engine.add_event_handler(Events.COMPLETED, lambda one: self.write(one.state.metrics))
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.failed)

    def failed(self, engine, error):
        self.write(repr(error))
        raise error

    def write(self, text):
        try:
            with open("journal.txt", "a") as file:
                file.write(f"{text}\n")
        except OSError as error:
            logging.warning("journal: %s", error)
