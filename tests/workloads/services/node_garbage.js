// Garbage only: every request builds rows of which the last few requests are kept. No leak.
// PORT ROWS REQUESTS_KEPT
"use strict";
const http = require("http");

const [port, rows, kept] = process.argv.slice(2).map(Number);
const last = [];

http
  .createServer((request, response) => {
    const made = [];
    for (let i = 0; i < rows; i++) made.push({ id: i, text: "row " + Math.random() });
    last.push(made);
    if (last.length > kept) last.shift();
    response.end("ok\n");
  })
  .listen(port, "127.0.0.1");
