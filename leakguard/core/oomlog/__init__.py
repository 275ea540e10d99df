"""Kernel OOM reports of Linux 2.6 to 7.x, read from any log: text in, values out.

report      the values: what one report says, and each kill in it
lines       what a log puts round a kernel line: times, hosts, levels, wrappers
patterns    the kernel's own words, each as a pattern
table       the task table, by the names in its header
draft       a report while its lines come in
voice       the open reports of one host or thread: which one a line belongs to
readers     what each kind of line adds to its report
parse       START HERE: lines in, finished reports out, bounded memory
era         which formula the kernel ran, told from the format
replay      our badness over the printed table: does it name the same victim?
record      one kill as plain data, the line that `leakguard oom-log --json` prints
"""
