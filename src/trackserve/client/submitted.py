"""An event in flight that nobody waits for: a future of its result."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

from trackserve.errors import EventError, InputError, ServerError, TrackserveError

from .exchange import Exchange, Settings
from .models import explained
from .transport import Call, Transport


class Submitted(Future[Any]):
    """The result of an event, or its error; if it is cancelled, the server gives the event up.

    Whoever brings the answer decodes it, and sends the event again if a server is busy or gone.

    Args:
        settings, transport: settings and transport of the client.
        model: name of the model.
    """

    def __init__(self, settings: Settings, transport: Transport, model: str) -> None:
        super().__init__()
        self._settings = settings
        self._transport = transport
        self._model = model
        self._call: Call | None = None

    def cancel(self) -> bool:
        """Give the event up; return whether it had not ended."""
        cancelled = super().cancel()
        call = self._call
        if cancelled and call is not None:
            call.cancel()
        return cancelled

    def send(self, exchange: Exchange) -> None:
        """Send the event, or send it again."""
        if self.cancelled():
            return
        try:
            call = self._transport.submit(exchange.request, exchange.send())
        except EventError as error:
            self.end(exchange.failed(error))
        except TrackserveError as error:
            self.end(error)
        else:
            self._call = call
            if self.cancelled():
                call.cancel()
            call.add_done_callback(partial(self._arrived, exchange))

    def end(self, error: Exception) -> None:
        """There is no result."""
        if self.set_running_or_notify_cancel():
            self.set_exception(error)

    def _arrived(self, exchange: Exchange, call: Any) -> None:
        self._call = None  # it refers to this future, so its answer would stay in memory
        exchange.note(call.via)
        try:
            result = exchange.result(call.result(), call.arrived)
        except CancelledError:
            pass
        except EventError as error:
            self.end(exchange.failed(error))
        except ServerError as error:
            self._try_again(exchange, error)
        except InputError as error:  # the server is asked for the reason, which takes time
            threading.Thread(target=self._explain, args=(error,), daemon=True).start()
        except Exception as error:  # or nobody would ever learn of it
            self.end(error)
        else:
            if self.set_running_or_notify_cancel():
                self.set_result(result)
                exchange.handed_out()

    def _try_again(self, exchange: Exchange, error: ServerError) -> None:
        try:
            delay = exchange.retry_after(error)
        except TrackserveError as last:
            self.end(last)
        else:
            timer = threading.Timer(delay, self.send, (exchange,))
            timer.daemon = True
            timer.start()

    def _explain(self, error: InputError) -> None:
        reason = explained(error, self._settings, self._transport, self._model)
        reason.__cause__ = error
        self.end(reason)
