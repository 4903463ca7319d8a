"""A ZEO server, and instances of Zope that are its clients."""

import contextlib
import re

from ..backends.redis_server import free_port
from ..serving import Process
from .instances import BIN, Instance

CLIENT_STORAGE = """\
  <clientstorage>
    server 127.0.0.1:{port}
    storage main
    name main
  </clientstorage>"""
SERVER = """
<zeo>
  address 127.0.0.1:{port}
</zeo>
<filestorage main>
  path {path}
</filestorage>
"""


@contextlib.contextmanager
def zeo_server(file_storage, folder):
    """Serves a FileStorage; the port."""
    port = free_port()
    configuration = folder / "zeo.conf"
    configuration.write_text(SERVER.format(port=port, path=file_storage))
    with Process(BIN / "runzeo", "-C", configuration) as process:
        process.wait_for_line(r"listening on \('127.0.0.1', \d+\)")
        yield port


class Client(Instance):
    """An instance whose database is on a ZEO server."""

    def __init__(self, folder, port, **keywords):
        self._port = port
        super().__init__(folder, **keywords)

    def configure(self, *arguments, **keywords):
        """Its database is the server's."""
        storage = CLIENT_STORAGE.format(port=self._port)
        conf = re.sub(r" *<filestorage>.*?</filestorage>", storage, self._conf_before, count=1, flags=re.DOTALL)
        self._conf_before = conf if "%import ZEO" in conf else f"%import ZEO\n{conf}"
        super().configure(*arguments, **keywords)
