"""What a run will take: responses, tokens, optimizer steps, bytes and hours, before and while it goes.

One way through: amounts has the numbers with their bounds, arithmetic makes a plan from settings and counts
alone, finished reads what stages of the run have left and measures rates from it, trial measures them where
there is nothing yet, forecast puts these together for one run, table shows a plan. Hours follow from measured
rates only; without any they are not known.
"""
