"""A camera on the network that sends JPEGs over HTTP, as telephones and doorbells do: without time stamps."""

import http.server
import io
import threading
import time

from PIL import Image


class Server:
    """Sends these pictures u8 [H, W, 3] once to whoever asks, so many a second; `sent` says when each went out
    (perf_counter)."""

    def __init__(self, pictures, rate):
        self.sent, server = [], self
        parts = [_jpeg(picture) for picture in pictures]

        class Camera(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=--frame")
                self.end_headers()
                begin = time.perf_counter()
                for i, part in enumerate(parts):
                    time.sleep(max(begin + i / rate - time.perf_counter(), 0))
                    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(part)
                    server.sent.append(time.perf_counter())
                    self.wfile.write(head + part + b"\r\n")

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def _jpeg(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90)
    return file.getvalue()
