// Leak outside of the heap: the buffer of every request waits in a map for an answer to it.
// PORT BUFFER_BYTES
"use strict";
const http = require("http");

const [port, size] = process.argv.slice(2).map(Number);
const pending = new Map();

http
  .createServer((request, response) => {
    pending.set(pending.size, Buffer.alloc(Math.ceil(size * (0.5 + Math.random())), 1));
    response.end("ok\n");
  })
  .listen(port, "127.0.0.1");
