// An LRU cache of bounded length, and garbage as every request makes it. No leak.
// PORT ENTRIES ENTRY_BYTES
"use strict";
const http = require("http");

const [port, most, size] = process.argv.slice(2).map(Number);
const cache = new Map();

http
  .createServer((request, response) => {
    let value = cache.get(request.url);
    if (value === undefined) {
      value = Array.from({ length: Math.ceil((size / 8) * (0.5 + Math.random())) }, Math.random);
      if (cache.size >= most) cache.delete(cache.keys().next().value);
    } else {
      cache.delete(request.url);
    }
    cache.set(request.url, value);
    response.end("ok\n");
  })
  .listen(port, "127.0.0.1");
