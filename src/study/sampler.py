"""The searchers of Optuna, and a space in its words."""

from src.system.errors import UserError


def sampler(kind: str, seed: int):
    """Return a sampler that begins anew with each trial, so that a search goes on as if never disturbed."""
    from optuna import samplers

    class Again(samplers.BaseSampler):
        def before_trial(self, study, trial):
            self.one = _made(samplers, kind, seed, trial.number, len(study.directions))
            self.one.before_trial(study, trial)

        def infer_relative_search_space(self, study, trial):
            return self.one.infer_relative_search_space(study, trial)

        def sample_relative(self, study, trial, space):
            return self.one.sample_relative(study, trial, space)

        def sample_independent(self, study, trial, name, distribution):
            return self.one.sample_independent(study, trial, name, distribution)

    return Again()


def _made(samplers, kind: str, seed: int, number: int, n_objectives: int):
    """Return the sampler of one trial; its seed is that of the search and the trial's number."""
    import numpy as np

    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if kind == "cmaes":
        if n_objectives > 1:
            raise UserError("sweep.sampler=cmaes optimises one metric: take tpe or nsga2 for two")
        return samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
    if kind == "qmc":
        sampler = samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
        sampler._find_sample_id = lambda *_: number  # else a trial that is asked again would be another
        sampler._independent_sampler = samplers.RandomSampler(own)
        return sampler
    return {"tpe": samplers.TPESampler, "nsga2": samplers.NSGAIISampler, "random": samplers.RandomSampler}[
        kind
    ](seed=own)


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
