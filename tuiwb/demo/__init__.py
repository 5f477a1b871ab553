"""The guided path on a small real model: get it, plan, look at the data, train, ask it before and after."""
