"""The searchers of Optuna, and a space in its words."""

import numpy as np


def sampler(kind: str, seed: int, n_trials: int):
    """Return a sampler that begins anew with each trial, so that a search goes on as if never disturbed."""
    from optuna import samplers

    class Again(samplers.BaseSampler):
        def before_trial(self, study, trial):
            self.one = _made(samplers, kind, seed, trial.number, n_trials)
            self.one.before_trial(study, trial)

        def infer_relative_search_space(self, study, trial):
            return self.one.infer_relative_search_space(study, trial)

        def sample_relative(self, study, trial, space):
            return self.one.sample_relative(study, trial, space)

        def sample_independent(self, study, trial, name, distribution):
            return self.one.sample_independent(study, trial, name, distribution)

    return Again()


def _made(samplers, kind: str, seed: int, number: int, n_trials: int):
    """Return the sampler of one trial; its seed is made of that of the search and the trial's number."""
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if kind == "cmaes":
        return samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
    if kind == "nsga2":  # its first generation is random: at most a fifth of the trials
        return samplers.NSGAIISampler(seed=own, population_size=max(4, min(50, n_trials // 5)))
    if kind == "qmc":
        one = samplers.QMCSampler(
            seed=seed, scramble=True, warn_independent_sampling=False,
            independent_sampler=samplers.RandomSampler(own),
        )  # fmt: skip
        one._find_sample_id = lambda *_: number  # a trial that is asked again would be another
        return one
    return {"tpe": samplers.TPESampler, "random": samplers.RandomSampler}[kind](seed=own)


def distribution(one: dict):
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "texts" in one:
        return CategoricalDistribution(one["values"])
    kind = IntDistribution if one["whole"] else FloatDistribution
    options = {"step": one["step"]} if "step" in one else {"log": one["log"]}
    return kind(one["low"], one["high"], **options)


def text(one: dict, value) -> str:
    """Return a value that was chosen as it stands in an override."""
    if "texts" in one:
        return one["texts"][[(type(x), x) for x in one["values"]].index((type(value), value))]
    return repr(round(value, 12) if "step" in one else value)
