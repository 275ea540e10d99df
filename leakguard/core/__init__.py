"""The pure core: values and functions, no clock, file, socket, thread, log or randomness.

Data goes one way; a module imports only from rows below its own in this list read upwards.

    units, instant, severity, errors, codec   bytes, seconds, moments, loudness, errors, JSON
    sample                                    what was read of services, cgroups and the host
    eras, badness, headroom, victims          the kernel's OOM killer: formulas, room left, who dies
    oomlog, kills, kill_book, foretold        its reports, kills counted once, what was said
    series, trend, forecast, assessment       facts: is it growing, when is a limit reached
    policy                                    what the operator wants, as plain rules
    state, inbox                              what is remembered; what comes in from outside
    facts, propose, guards, decision          assess; "I would restart, because"; veto; one decision
    events, alerts, tick                      what happened, who is told; the bench of one step
    observe, flight, watch, judge, pace       the parts of a step, one question each
    kill_news, deaths, accuracy               kills told, deaths explained, predictions held to them
    calibration, learning                     forecasts held to what came; the band they leave
    engine                                    step(state, inputs, rules): START HERE
    status, plan, findings                    what people may see; what the daemon is started with
"""
