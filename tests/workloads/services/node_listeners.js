// Leak: every request adds a listener whose closure holds the request's state; none is removed.
// PORT OBJECTS GARBAGE: so many small objects are kept and so many thrown away each time.
"use strict";
const { EventEmitter } = require("events");
const http = require("http");

const [port, objects, garbage] = process.argv.slice(2).map(Number);
const configuration = new EventEmitter();
configuration.setMaxListeners(0);

function build(count) {
  const rows = [];
  for (let i = 0; i < count; i++) rows.push({ id: i, price: Math.random(), note: "n" + Math.random() });
  return rows;
}

http
  .createServer((request, response) => {
    const state = build(Math.ceil(objects * (0.5 + Math.random())));
    configuration.on("changed", () => state.length);
    build(garbage);
    response.end("ok\n");
  })
  .listen(port, "127.0.0.1");
