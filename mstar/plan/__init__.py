"""What a run will take: responses, tokens, optimizer steps, bytes and hours, before and while it goes.

One way through: amounts has numbers with their bounds, needs says what the stages of a turn take, arithmetic
adds them up to a plan; all three are pure. finished reads what a run has left and measures rates from it,
trial measures them where there is nothing yet, forecast puts these together for one run; rows and table show
a plan. Hours follow from measured rates only; without any they are not known.
"""
