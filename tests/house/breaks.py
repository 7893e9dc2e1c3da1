"""The source broken on purpose, one line at a time: what a slip of the hand could have written.

Each break says what it would mean; a test must notice it. ``old`` stands exactly once in its file.
``python -m tests.mutate`` applies them one after another in a copy of the tree and runs the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Break:
    """One line of a source file, exchanged. ``tests``: instead of those that mirror the file."""

    file: str
    old: str
    new: str
    means: str
    tests: tuple[str, ...] = ()

    @property
    def room(self) -> str:
        """The folder of the file: ``client/gate``."""
        return Path(self.file).parent.as_posix()

    def apply(self, text: str) -> str:
        """The broken file.

        Raises:
            ValueError: ``old`` is not exactly once in it.
        """
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file}: {self.old!r} stands {text.count(self.old)} times")
        return text.replace(self.old, self.new)


BREAKS: tuple[Break, ...] = (
    # shared/signing, shared/machine, shared/exam
    Break(
        "shared/signing/envelope.py",
        "len(set(signers)) != len(signers)",
        "len(set(signers)) > len(signers)",
        "a signer may be named twice",
    ),
    Break(
        "shared/signing/countersign.py",
        '"ledger_head": ledger_head, "plan_sha256": plan_sha256}',
        '"ledger_head": ledger_head}',
        "a head countersigned under one plan holds under another",
    ),
    Break(
        "shared/signing/key_rotation.py",
        "rotation.is_signed(rotation.new_key, str(new_signature))",
        "rotation.is_signed(rotation.old_key, str(old_signature))",
        "nobody has to agree to be handed a key",
    ),
    Break(
        "shared/signing/code_hash.py",
        '.rglob("*.py"))',
        '.glob("*.py"))',
        "code in the rooms may change unnoticed",
    ),
    Break(
        "shared/machine/files.py",
        "return start + newline + 1",
        "return start + newline",
        "a torn log loses its last newline",
    ),
    Break(
        "shared/machine/files.py",
        "while end:",
        "if end:",
        "a torn end longer than a block takes the whole log with it",
    ),
    Break(
        "shared/machine/terminal.py",
        'f"{type(error).__name__} in {os.path.basename(place.filename)}, line {place.lineno}"',
        'f"{error} in {os.path.basename(place.filename)}, line {place.lineno}"',
        "the text of an unexpected error, which may name a patient, is shown",
    ),
    Break(
        "shared/exam/schema.py",
        "if self.low >= self.high:",
        "if self.low > self.high:",
        "a number may have a range without width",
    ),
    Break(
        "shared/exam/schema.py",
        "abs(self.train + self.tune + self.internal - 1.0) > 1e-9",
        "self.train + self.tune + self.internal - 1.0 > 1e-9",
        "a split may lose patients",
    ),
    # shared/measure
    Break(
        "shared/measure/table/rows.py",
        'side = "left" if spec.positive_is_low else "right"',
        'side = "right" if spec.positive_is_low else "left"',
        "a score on the operating point is called negative",
    ),
    Break(
        "shared/measure/table/rows.py",
        "worst = np.where(is_positive, spec.bins - 1 - most_positive, most_positive)",
        "worst = np.where(is_positive, most_positive, spec.bins - 1 - most_positive)",
        "a score that is not finite flatters",
    ),
    Break(
        "shared/measure/table/moments.py",
        "spread = sums.u2 - (sums.u**2 - sums.sd_u**2) / sums.count",
        "spread = sums.u2 - sums.u**2 / sums.count",
        "the square of a sum's own noise stays in the spread",
    ),
    Break(
        "shared/measure/table/moments.py",
        "by_bias, by_square = 1 - sign * LIMIT * bias / sd, sign * LIMIT / (2 * sd)",
        "by_bias, by_square = 1.0, sign * LIMIT / (2 * sd)",
        "a limit of agreement forgets that its SD depends on the bias",
    ),
    Break(
        "shared/measure/table/moments.py",
        "return within(1 - error / spread, *R2_RANGE, bounds=R2_RANGE)",
        "return SUPPRESSED",
        "R² is left out where noise has spoilt it",
    ),
    Break(
        "shared/measure/table/reading.py",
        "is_enough = by_plan or n_patients >= minimum_cell",
        "is_enough = n_patients >= minimum_cell",
        "what the plan shows is taken away where noise has taken the patients",
    ),
    Break(
        "shared/measure/table/spread.py",
        "return float(nearest**2 - target_variance - error_variance) / 2",
        "return float(target_variance + error_variance - nearest**2)",
        "R² takes errors and targets for more dependent than they are",
    ),
    Break(
        "shared/measure/table/bins.py",
        "cell_sd = noise_multiplier * sensitivity / weight",
        "cell_sd = noise_multiplier * weight / sensitivity",
        "a loud table has too many bins",
    ),
    Break(
        "shared/measure/table/moments.py",
        "guess = (constant - centre) / half",
        "guess = (centre - constant) / half",
        "R² of no training is wrong",
    ),
    Break(
        "shared/measure/table/reading.py",
        "if count < 0.5:",
        "if count < 0:",
        "an empty class is said to be suppressed",
    ),
    Break(
        "shared/measure/description/reading.py",
        "bessel = n / (n - 1)",
        "bessel = 1.0",
        "the SD is that of a population",
    ),
    Break(
        "shared/measure/description/reading.py",
        "value=present.value - lacking.value, variance=present.variance + lacking.variance",
        "value=present.value - lacking.value, variance=present.variance - lacking.variance",
        "the noise of a difference is too small",
    ),
    Break(
        "shared/sums/intervals.py",
        "common = (n_positive + n_negative) / 2 - 1",
        "common = (n_positive + n_negative) / 2",
        "an AUC's variance is not Newcombe's",
    ),
    Break(
        "server/report/pooling.py",
        "scale = max(float((weight * (effects - mean) ** 2).sum()) / (n_sites - 1), 1.0)",
        "scale = float((weight * (effects - mean) ** 2).sum()) / (n_sites - 1)",
        "the Hartung-Knapp interval loses its floor",
    ),
    Break(
        "server/report/pooling.py",
        "quantile = float(student.ppf(0.5 + confidence / 2, n_sites - 2))",
        "quantile = float(student.ppf(0.5 + confidence / 2, n_sites - 1))",
        "a prediction interval has a degree of freedom too many",
    ),
    Break(
        "shared/measure/exact/discrimination.py",
        "np.cov(won) / n_positive + np.cov(lost) / n_negative",
        "np.cov(won) / n_negative + np.cov(lost) / n_positive",
        "DeLong's variance takes the wrong class sizes",
    ),
    Break(
        "shared/measure/exact/regression.py",
        "error = prediction - target",
        "error = target - prediction",
        "a bias has the wrong sign",
    ),
    # shared/privacy
    Break(
        "shared/contract/plan.py",
        "return max(known, default=0.0) if len(known) == len(costs) else None",
        "return min(known, default=0.0) if len(known) == len(costs) else None",
        "the cheapest patient's epsilon is promised to all",
    ),
    Break(
        "shared/privacy/events.py",
        "steps[kind] = steps.get(kind, 0) + event.steps",
        "steps[kind] = max(steps.get(kind, 0), event.steps)",
        "repeated charges are counted once",
    ),
    Break(
        "shared/privacy/accountant.py",
        "return math.fsum(event.steps / event.noise_multiplier**2 for event in events)",
        "return math.fsum(event.steps / event.noise_multiplier for event in events)",
        "noise is counted by its first power",
    ),
    Break(
        "shared/privacy/ledger_format.py",
        "if rows and row.site != rows[0].site:",
        "if rows and row.site == '':",
        "rows of two sites make one ledger",
    ),
    Break(
        "shared/privacy/ledger_format.py",
        "if countersignature.head_sha256 not in hashes:",
        "if not hashes:",
        "a ledger may be cut behind a countersigned head",
    ),
    Break(
        "shared/privacy/ledger_format.py",
        "return sha256_hex(canonical_json(sorted(set(members))))",
        "return sha256_hex(canonical_json(sorted(members)))",
        "a member named twice is another set",
    ),
    Break(
        "shared/privacy/ledger_export.py",
        "if export.site not in trusted_keys or export.site in exports:",
        "if export.site not in trusted_keys:",
        "a site may hand over two ledgers",
    ),
    Break(
        "shared/privacy/register_format.py",
        "return sha256_hex(salt + coins.astype(np.uint8).tobytes())",
        "return sha256_hex(coins.astype(np.uint8).tobytes())",
        "few coins can be guessed from their commitment",
    ),
    Break(
        "shared/privacy/statement.py",
        "(NO_GUARANTEE in self.guarantee) != (self.cost.n_unprotected > 0)",
        "(NO_GUARANTEE in self.guarantee) and not (self.cost.n_unprotected > 0)",
        "a guarantee may be stated though charges had no noise",
    ),
    Break(
        "shared/privacy/statement_text.py",
        "is_same = software.code_sha256 == software.plan_code_sha256",
        "is_same = bool(software.plan_code_sha256)",
        "other code than the plan's goes unsaid",
    ),
    # shared/model
    Break(
        "shared/model/attention.py",
        "attended: Tensor = self.out(read * mask.has_key)",
        "attended: Tensor = self.out(read)",
        "a row without any key attends to all of them",
    ),
    Break(
        "shared/model/clinical_tokens.py",
        "return here * present + (1.0 - here) * self.missing",
        "return here * present + self.missing",
        "a present field counts as missing too",
    ),
    Break(
        "shared/model/lora.py",
        "self.scale = alpha / rank",
        "self.scale = alpha",
        "a low-rank change does not shrink with its rank",
    ),
    Break(
        "shared/model/weights.py",
        "if sha256 is not None and found != sha256:",
        "if sha256 is None and found != sha256:",
        "another weights file than the plan's is read",
    ),
    # shared/audit
    Break(
        "shared/audit/finding.py",
        'return "pass" if "pass" in verdicts else "not-run"',
        'return "not-run" if "not-run" in verdicts else "pass"',
        "a method that examined nothing passes",
    ),
    Break(
        "shared/audit/wording.py",
        'if verdict == "pass" and method in _ATTACKS',
        'if verdict == "pass" and method not in _ATTACKS',
        "an attack that failed is said to prove a claim",
    ),
    Break(
        "shared/audit/canary/one_run.py",
        "each = 1 - (1 - confidence) / 2",
        "each = confidence",
        "two bounds are each given the whole error",
    ),
    Break(
        "shared/audit/canary/one_run.py",
        "scores: Floats = -record.sums.sum(axis=0) / expected",
        "scores: Floats = record.sums.sum(axis=0) / expected",
        "canaries that took part get the low scores",
    ),
    Break(
        "shared/audit/recount/releases.py",
        "elif charge.index in used:",
        "elif charge.index in ():",
        "one charge pays for two releases",
    ),
    Break(
        "shared/audit/recount/releases.py",
        "if reply.ledger_head != charge.sha256:",
        "if not reply.ledger_head:",
        "a reply may name another charge than its own",
    ),
    Break(
        "shared/audit/recount/releases.py",
        "if places != sorted(set(places)):",
        "if len(places) != len(set(places)):",
        "rounds may be answered out of order",
    ),
    # client/site, people, cohort, intake
    Break(
        "client/site/policy.py",
        "if stage.canaries > policy.maximum_canaries:",
        "if stage.canaries < policy.maximum_canaries:",
        "any number of canaries is let in",
    ),
    Break(
        "client/site/policy.py",
        "if plan.settings.delta > policy.delta:",
        "if plan.settings.delta > 10 * policy.delta:",
        "a delta above the hospital's is accepted",
    ),
    Break(
        "client/site/approval.py",
        "if not verify(self._key.public_hex, content, signature) or named != plan_sha256:",
        "if not verify(self._key.public_hex, content, signature):",
        "an approval of one plan approves another",
    ),
    Break(
        "client/site/profile.py",
        "return folded in MISSING_TOKENS or text.strip() in self.missing_tokens",
        "return folded in MISSING_TOKENS or folded in self.missing_tokens",
        "a site's own word for no value is read without its case",
    ),
    Break(
        "client/site/context.py",
        "if 0 <= partition < len(folders):",
        "if partition < len(folders):",
        "a negative partition takes somebody else's folder",
    ),
    Break(
        "client/people/identity.py",
        "is_known = self.identity is not None or self.has_withdrawn or self.has_staged_films",
        "is_known = self.identity is not None or self.has_withdrawn",
        "who has only staged films is called nobody",
    ),
    Break(
        "client/cohort/split.py",
        'return "tune" if position < rule.train + rule.tune else "internal"',
        'return "tune" if position < rule.tune else "internal"',
        "nobody is in the tune split",
    ),
    Break(
        "client/cohort/label.py",
        "rank = sum(t_score <= threshold for threshold in label.class_t_scores)",
        "rank = sum(t_score < threshold for threshold in label.class_t_scores)",
        "a T-score of exactly −2.5 is no osteoporosis",
    ),
    Break(
        "client/cohort/quarantine.py",
        'return self.kind in ("film", "row") and CODES[self.code].is_loss',
        "return CODES[self.code].is_loss",
        "a value of a kept row counts as a lost input",
    ),
    Break(
        "shared/exam/standardise.py",
        "else (float(value) - clinical.reference_mean) / clinical.reference_sd",
        "else float(value) / clinical.reference_sd - clinical.reference_mean",
        "numbers are standardised wrongly",
    ),
    Break(
        "client/intake/changes.py",
        "missing=len(gone) - left_out,",
        "missing=len(gone),",
        "who withdrew is counted as lost",
    ),
    Break(
        "client/intake/films.py",
        "day <= self.acquired_after",
        "day < self.acquired_after",
        "films of the day of the lock are measured prospectively",
        ("client/intake/test_changes.py",),
    ),
    Break(
        "client/intake/refusal.py",
        "if lost_fraction > schema.max_lost_fraction:",
        "if lost_fraction > 1 - schema.max_lost_fraction:",
        "an intake that loses most is accepted",
    ),
    Break(
        "client/intake/clinical.py",
        "isinstance(age, float) and age < schema.minimum_age_years",
        "isinstance(age, float) and age <= schema.minimum_age_years",
        "patients of the least age are left out",
    ),
    Break(
        "client/intake/clinical.py",
        "factor, offset = clinical.units[named]",
        "offset, factor = clinical.units[named]",
        "units are converted the wrong way",
    ),
    Break(
        "client/intake/link.py",
        "return sorted(near, key=lambda row: (abs((row.day - day).days), row.day))",
        "return sorted(near, key=lambda row: (row.day, abs((row.day - day).days)))",
        "the earliest row is linked instead of the nearest",
    ),
    Break(
        "client/intake/sources/fhir.py",
        "return str(day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day)))",
        "return str(day.year - birth.year)",
        "ages are a year too high before the birthday",
    ),
    Break(
        "client/intake/sources/listing.py",
        "if not all_series:",
        "if all_series is None:",
        "a study without series is lost in silence",
    ),
    Break(
        "client/intake/sources/staging.py",
        "is_part = not wanted or not body_part or body_part.upper() in wanted",
        "is_part = not wanted or body_part.upper() in wanted",
        "a series that does not name its body part is not asked for",
    ),
    # client/doctor, reading, rehearsal, cohort_page, command
    Break(
        "client/doctor/machine.py",
        "free = min(of_machine, of_container)",
        "free = max(of_machine, of_container)",
        "a container's limit is overlooked",
    ),
    Break(
        "client/reading/predict.py",
        "return number if field.low <= number <= field.high else None",
        "return number if number <= field.high else None",
        "a value below the field's range is read",
    ),
    Break(
        "client/reading/heat_map.py",
        "top = max((float(heat.max()) for heat in heat_maps), default=1.0) or 1.0",
        "top = min((float(heat.max()) for heat in heat_maps), default=1.0) or 1.0",
        "the strongest place of a second view is cut off",
    ),
    Break(
        "client/rehearsal/price.py",
        '("train", train, policy.minimum_cohort_patients),',
        '("train", train, policy.minimum_cell),',
        "too small a cohort is announced as enough",
    ),
    Break(
        "client/rehearsal/price.py",
        "if price.spent_after > policy.epsilon_lifetime:",
        "if price.spent_before > policy.epsilon_lifetime:",
        "an overspent life is noticed only afterwards",
    ),
    Break(
        "client/cohort_page/quarantine.py",
        "elif CODES[code].is_loss:",
        "elif not CODES[code].is_loss:",
        "what is to be corrected is shown as left out on purpose",
    ),
    Break(
        "client/command/options.py",
        "        is_sure = False",
        "        is_sure = True",
        "silence is a yes",
    ),
    # client/gate
    Break(
        "client/gate/outbox.py",
        'whole, _, _ = self._log.read_bytes().rpartition(b"\\n")',
        "whole = self._log.read_bytes()",
        "a torn line makes the outbox unreadable",
    ),
    Break(
        "client/gate/ledger_file.py",
        "if size < n_read:",
        "if size == 0 and n_read:",
        "a ledger that shrinks while it is open goes unnoticed",
    ),
    Break(
        "client/gate/ledger_file.py",
        "if stood not in self._hashes:",
        "if not stood:",
        "a ledger put back from an old copy passes its witness",
    ),
    # server/federation, report, synthetic, encoders, experiments
    Break(
        "server/federation/folder.py",
        "if rotation.new_key in used:",
        "if rotation.new_key == rotation.old_key:",
        "a key may be enrolled for two sites",
    ),
    Break(
        "server/federation/folder.py",
        "return keys[keys.index(public_key) :]",
        "return keys[: keys.index(public_key)]",
        "the keys before are taken for those after",
    ),
    Break(
        "server/federation/plan.py",
        '_trained_stage(settings, n_parameters, min(declared["training"]))',
        '_trained_stage(settings, n_parameters, max(declared["training"]))',
        "the bound on an update is that of the quietest site",
    ),
    Break(
        "server/report/collect.py",
        "bytes_received=encoder + sum(read) + n_measured * release_bytes,",
        "bytes_received=encoder + sum(read),",
        "weights of a validation are not counted",
    ),
    Break(
        "server/report/wording.py",
        'cards.append(("Privacy", "none", "no formal privacy guarantee"))',
        'cards.append(("Training ε", "0.00", "per patient"))',
        "no privacy is shown as perfect privacy",
    ),
    Break(
        "server/report/patients.py",
        "return tuple(sorted(rows, key=lambda row: not row.is_pooled))",
        "return tuple(sorted(rows, key=lambda row: row.is_pooled))",
        "the pooled column is last",
    ),
    Break(
        "server/report/pictures.py",
        "if low < start:",
        "if low > start:",
        "an interval that leaves the axis has no arrow",
    ),
    Break(
        "server/report/terminal.py",
        'blanks = ("–",) * (6 if is_regression else 4)',
        'blanks = ("–",) * (5 if is_regression else 4)',
        "a row without figures is a column short",
    ),
    Break(
        "server/synthetic/clinical_table.py",
        "return (hologic_a + hologic_b * bmd_hologic - a) / b",
        "return (hologic_a + hologic_b * bmd_hologic - b) / a",
        "another vendor's BMD is computed wrongly",
    ),
    Break(
        "server/synthetic/exams.py",
        "share = rule.share + (rule.share_above_75 if patient.age_years > 75.0 else 0.0)",
        "share = rule.share",
        "the old have as few gaps as the others",
    ),
    Break(
        "server/synthetic/identity.py",
        "birth_day=day - timedelta(days=int(patient.age_years * 365.25)),",
        "birth_day=day - timedelta(days=int(patient.age_years * 365.25) + 400),",
        "a birth day does not fit the age",
    ),
    Break(
        "server/encoders/pack_weights.py",
        "weights_only=True",
        "weights_only=False",
        "code in a checkpoint is run",
    ),
    Break(
        "server/experiments/figures.py",
        "middle = statistics.median_low([figure.r2[0] for figure in figures])",
        "middle = max([figure.r2[0] for figure in figures])",
        "the best seed is printed",
    ),
    Break(
        "server/experiments/page.py",
        "epsilon: value / federated[head, None]",
        "epsilon: value / max(federated.values())",
        "shares are of another head's figure",
    ),
    # server/run, rounds, engines
    Break(
        "server/run/journal.py",
        "for site in (*so_far.rejected, *unsettled):",
        "for site in (*so_far.accepted, *unsettled):",
        "the accepted answers are set aside",
    ),
    Break(
        "shared/contract/vector_file.py",
        'head += b" " * (-len(head) % 8)',
        'head += b" " * (len(head) % 8)',
        "vectors are not aligned",
    ),
    Break(
        "server/encoders/file.py",
        "if not path.exists() or hash_file(path) != encoder.sha256:",
        "if not path.exists():",
        "another encoder than the plan's is sent",
    ),
    # what the table began with, and pure functions of rooms that are near the coordinator's loop
    Break(
        "shared/contract/release.py",
        "plan.sha256 == record.plan_sha256",
        "plan.run == record.run",
        "a release may hold the plan of another one of the same name",
    ),
    Break(
        "shared/contract/release.py",
        '(stage.minimum_patients for stage in release.plan.tables if stage.patients == "accrued"),',
        '(1 for stage in release.plan.tables if stage.patients == "accrued"),',
        "a lock is measured on one patient",
    ),
    Break(
        "shared/contract/payload.py",
        'if content.pop("version") != PROTOCOL_VERSION:',
        'if content.pop("version") < PROTOCOL_VERSION:',
        "a message of a later protocol is read as one of this",
    ),
    Break(
        "shared/contract/plan.py",
        "return tuple(entry for entry in self.roster if entry.role == role)",
        "return tuple(entry for entry in self.roster if entry.weight >= 0)",
        "external sites are asked to train",
    ),
    Break(
        "shared/contract/stages.py",
        "return max(1, math.ceil(self.tail_average * rounds))",
        "return max(1, math.floor(self.tail_average * rounds))",
        "the tail is a round short",
    ),
    Break(
        "shared/privacy/filter.py",
        "return squared_mu(merged) <= gaussian_mu(epsilon, delta) ** 2",
        "return squared_mu(merged) <= gaussian_mu(epsilon, delta)",
        "the cap of a lifetime is another one",
    ),
    Break(
        "shared/privacy/sampler.py",
        "self._stream.uniforms(n) < self.sample_rate",
        "self._stream.uniforms(n) > self.sample_rate",
        "the others are drawn",
    ),
    Break(
        "shared/sums/lattice.py",
        "return np.trunc(rows / spacing).astype(np.int64)",
        "return np.rint(rows / spacing).astype(np.int64)",
        "a row may be rounded up above its bound",
    ),
    Break(
        "shared/train/loss.py",
        "torch.sigmoid((task.loss_threshold - value) / task.loss_scale)",
        "torch.sigmoid((value - task.loss_threshold) / task.loss_scale)",
        "healthy bones weigh more than ill ones",
    ),
    Break(
        "shared/train/update.py",
        "divisor=divisor * stage.sample_rate,",
        "divisor=divisor,",
        "a sampled step is divided by everybody",
    ),
    Break(
        "shared/train/update.py",
        'proximal_mu=stage.strategy.proximal_mu if stage.strategy.name == "fedprox" else 0.0,',
        "proximal_mu=0.0,",
        "FedProx trains as FedAvg",
    ),
    Break(
        "client/gate/register.py",
        "others = record.rounds != round_",
        "others = record.rounds > 0",
        "a round trained again is recorded twice",
    ),
    Break(
        "client/gate/gate.py",
        "if len(set(members)) < least:",
        "if len(members) < least:",
        "a patient named twice counts twice",
    ),
    Break(
        "client/intake/films.py",
        "return self.is_withdrawn(patient) or patient in self.exclude_patients",
        "return patient in self.exclude_patients",
        "who withdrew is counted as lost",
        ("client/intake/test_changes.py",),
    ),
    Break(
        "server/rounds/loop.py",
        "needed = math.ceil(",
        "needed = math.floor(",
        "one of three sites is a quorum of a half",
    ),
    Break(
        "server/rounds/weights_delivery.py",
        "    require_signature(reply, plan, site)",
        "    require_plan(reply, plan)",
        "anybody may say that a site holds the encoder",
    ),
    Break(
        "server/rounds/heads.py",
        'head = heads.get(entry.site, "")',
        'head = next(iter(heads.values()), "")',
        "a site is sent another site's head",
    ),
    Break(
        "server/experiments/figures.py",
        "float(np.quantile(output[target <= cut], sensitivity))",
        "float(np.quantile(output[target <= cut], 1 - sensitivity))",
        "the operating point misses the promised share",
    ),
    Break(
        "server/report/validation.py",
        "noise_sd = stage.noise_of(1) * sensitivity(spec)",
        "noise_sd = (stage.noise_of(1) or 1.0) * sensitivity(spec)",
        "exact tables are read as noised",
    ),
    # the stages of a plan, their sums, learners and measures, and who answers them
    Break(
        "shared/contract/stages.py",
        '(noise > 0) != (self.release_class == "dp")',
        '(noise > 0) and (self.release_class != "dp")',
        "a private stage may have no noise",
    ),
    Break(
        "shared/contract/stages.py",
        "return self.noise_multipliers[round_number - 1]",
        "return self.noise_multipliers[-round_number]",
        "sums of a learner have each other's noise",
    ),
    Break(
        "shared/contract/stages.py",
        "if isinstance(stage, DescriptionStage):",
        'if stage.name == "description":',
        "a purpose follows from a name that the coordinator chooses",
    ),
    Break(
        "shared/sums/total.py",
        "rows = asked.rows(state, patients.select([*range(start, start + held), *filler]))",
        "rows = asked.rows(state, patients.select([*range(start, start + held)]))",
        "the last chunk has another shape than the others",
    ),
    Break(
        "shared/sums/total.py",
        "noise = np.rint(normals * (noise_multiplier * bound / spacing)).astype(np.int64)",
        "noise = np.rint(normals * (noise_multiplier / spacing)).astype(np.int64)",
        "noise forgets the bound of a row",
    ),
    Break(
        "shared/sums/federate.py",
        "sd = noise_multiplier * bound * math.sqrt(len(sites))",
        "sd = noise_multiplier * bound",
        "the noise of one site is taken for that of all",
    ),
    Break(
        "shared/sums/lattice.py",
        "factors[is_long] = bound * _BELOW / norms[is_long]",
        "factors[is_long] = bound / norms[is_long]",
        "a row that is scaled down may end above its bound",
    ),
    Break(
        "shared/contract/vector_file.py",
        'mapped = np.memmap(path, dtype=dtype, mode="r", offset=start + first, shape=shape)',
        'mapped = np.memmap(path, dtype=dtype, mode="r", offset=start + first)[: math.prod(shape)]',
        "a matrix that a learner remembers comes back flat",
    ),
    Break(
        "shared/learners/forest.py",
        "vote = np.where(usable[:, None], hot, 0.0) / math.sqrt(n_trees)",
        "vote = np.where(usable[:, None], hot, 0.0)",
        "a patient's row in a forest is as long as the root of its trees",
    ),
    Break(
        "shared/learners/forest.py",
        "counts = unit * total.reshape(n_trees, self._n_leaves, n_classes)",
        "counts = total.reshape(n_trees, self._n_leaves, n_classes)",
        "leaves hold fewer patients than were counted",
    ),
    Break(
        "shared/learners/naive_bayes.py",
        "return math.hypot(1.0, self._radius)",
        "return self._radius",
        "the count of a patient is not in the bound",
    ),
    Break(
        "shared/learners/naive_bayes.py",
        "count = np.maximum(table[:, 0], max(sd, 1.0))  # [q]",
        "count = np.maximum(table[:, 0], 1.0)  # [q]",
        "a class that the noise swallows is taken for one patient",
    ),
    Break(
        "shared/learners/soft_neighbours.py",
        "return self._radius * math.hypot(1.0, self.settings.count_weight)",
        "return self._radius",
        "the count of a patient is not in the bound of a neighbour",
    ),
    Break(
        "shared/learners/proportional_odds.py",
        "if done > self.sums - n_tail:",
        "if done >= self.sums - n_tail:",
        "a state too many is in the mean of the tail",
    ),
    Break(
        "shared/learners/proportional_odds.py",
        "vector = state.vector - self.learning_rate / n_declared * total",
        "vector = state.vector + self.learning_rate / n_declared * total",
        "steps go up the gradient",
    ),
    Break(
        "shared/learners/second_moments.py",
        "return self._radius if state.sums_done == 0 else 1.0 + self._radius**2",
        "return self._radius",
        "the matrix is bounded as the means are",
    ),
    Break(
        "shared/learners/second_moments.py",
        "n = min(max(n, n_declared / 2), n_declared * 2)",
        "n = max(n, n_declared / 2)",
        "noise may make patients of a few many",
    ),
    Break(
        "shared/learners/moments.py",
        "noise = moments.n * (1.0 / values).sum() * (moments.target_sd / counts) ** 2  # [o]",
        "noise = 0.0 * counts  # [o]",
        "noise lengthens the mean of a small class",
    ),
    Break(
        "shared/stages/learner.py",
        "sd=noise_multiplier * self._learner.bound(before) * math.sqrt(len(totals)),",
        "sd=noise_multiplier * self._learner.bound(before),",
        "a learner is told the noise of one site",
    ),
    Break(
        "shared/stages/learner.py",
        "n_declared=float(sum(entry.declared_patients for entry in sites)),",
        "n_declared=float(max(entry.declared_patients for entry in sites)),",
        "a learner is told the patients of one site",
    ),
    Break(
        "shared/stages/scores.py",
        "return shift + scale * output, shift + scale * columns.target",
        "return shift + scale * output, columns.target",
        "labels stay in standard units",
    ),
    Break(
        "shared/contract/decision.py",
        "outputs[:, 0 if self.is_regression else self.endpoint]",
        "outputs[:, 0]",
        "the probability is that of the first class",
    ),
    Break(
        "shared/stages/measure.py",
        "Scored(outputs, label),",
        "Scored(outputs, np.rint(label)),",
        "labels are rounded before an error is measured",
    ),
    Break(
        "shared/stages/measure.py",
        "return self._stage.noise_of(1) * self._bound",
        "return self._bound",
        "figures do not know how loud the noise was",
    ),
    Break(
        "shared/stages/gradient.py",
        "n_declared=float(sum(entry.declared_patients for entry in sites)),",
        "n_declared=float(sum(entry.declared_patients for entry in sites[:1])),",
        "a step over all sites is divided by one of them",
    ),
    Break(
        "shared/stages/gradient.py",
        "learning_rate=stage.learning_rate * stage.strategy.server_learning_rate,",
        "learning_rate=stage.learning_rate,",
        "the coordinator's learning rate is forgotten where it folds",
    ),
    Break(
        "shared/stages/gradient_rows.py",
        "step = self.learning_rate / (self.sample_rate * n_declared)",
        "step = self.learning_rate / n_declared",
        "a sampled step is too short",
    ),
    Break(
        "shared/stages/stage_sum.py",
        'if stage.release_class != "dp":',
        'if stage.release_class == "off":',
        "exact cells that a person answers for are noised without noise",
    ),
    Break(
        "shared/stages/stage_sum.py",
        "if vector.size and float(np.abs(vector).max()) > largest:",
        "if vector.size and float(vector.max()) > largest:",
        "a state may be as negative as it likes",
    ),
    Break(
        "shared/stages/stage_sum.py",
        "return CAPACITY_PER_DECLARED * declared * bound + radius",
        "return CAPACITY_PER_DECLARED * declared + radius",
        "the largest honest total forgets the bound of a row",
    ),
    Break(
        "shared/contract/decision.py",
        'place = np.searchsorted(self.label_cuts, np.round(label, _DECIMALS), side="left")',
        'place = np.searchsorted(self.label_cuts, np.round(label, _DECIMALS), side="right")',
        "a label on the threshold is called healthy",
    ),
    Break(
        "shared/contract/decision.py",
        'return np.searchsorted(self.output_cuts, score, side="left").astype(np.intp)',
        'return np.searchsorted(self.label_cuts, score, side="left").astype(np.intp)',
        "a reading is called at the label's cut and not at the one that was validated",
    ),
    Break(
        "shared/stages/in_memory.py",
        "n_tail = stage.strategy.n_averaged(stage.rounds) if isinstance(stage, GradientStage) else 1",
        "n_tail = 1",
        "what is rehearsed is the last weights, and what is released their average",
    ),
    Break(
        "server/report/pooling.py",
        "if n_sites < LEAST_SITES or min(n_positive, n_negative) < 1.0:",
        "if min(n_positive, n_negative) < 1.0:",
        "two hospitals are called a mean of hospitals",
    ),
    Break(
        "server/report/pooling.py",
        "variances = (sampling + noise / (of_ill * of_well) ** 2) / unit**2",
        "variances = sampling / unit**2",
        "the mean of sites does not know the noise of their tables",
    ),
    Break(
        "server/report/validation.py",
        "for site, table in tables.items() if site != left]",
        "for site, table in tables.items() if site]",
        "nobody is left out",
    ),
    Break(
        "shared/measure/table/expected.py",
        "if half is not None and half <= WIDEST.get(name, WIDEST_OF_ERROR * error)",
        "if half is not None",
        "whatever noise leaves is shown",
    ),
    Break(
        "shared/measure/table/reading.py",
        "return estimate if name in shown and estimate.value is not None else TOO_NOISY",
        "return estimate",
        "what was expected to say nothing is shown when noise flatters it",
    ),
    Break(
        "server/federation/tables.py",
        "return declared * shares[patients]",
        "return float(declared)",
        "a split is taken for the whole cohort",
    ),
    Break(
        "server/federation/tables.py",
        "noise_multiplier=noise * math.sqrt(len(sizes)),",
        "noise_multiplier=noise,",
        "pooled tables have the bins of a single one's noise",
    ),
    Break(
        "shared/measures/classes.py",
        "cell = (2 * place + is_it) * self.settings.bins + within",
        "cell = (2 * place + 1 - is_it) * self.settings.bins + within",
        "who is of a class is counted as who is not",
    ),
    Break(
        "shared/measures/classes.py",
        "variance = np.array([[cell_sd**2 * len(part) for part in parts]] * c)",
        "variance = np.array([[cell_sd**2 for part in parts]] * c)",
        "the noise of added bins is that of one",
    ),
    Break(
        "shared/measures/errors.py",
        "if 0 < joined[-1] < minimum_cell:",
        "if joined[-1] < 0:",
        "a few patients with the largest errors are shown",
    ),
    Break(
        "shared/measures/errors.py",
        "joined[band + 1] += joined[band]",
        "joined[band - 1] += joined[band]",
        "patients that are hidden are shown with smaller errors",
    ),
    Break(
        "shared/measures/errors.py",
        "rows[~np.isfinite(patients.label)] = 0.0",
        "rows[~np.isfinite(patients.output)] = 0.0",
        "who cannot be read is left out of the errors",
    ),
    Break(
        "shared/measures/scored.py",
        "return Scored(self.outputs[rows], self.label[rows])",
        "return Scored(self.outputs[rows], self.label)",
        "scores get the labels of others",
    ),
    Break(
        "client/answers/answer.py",
        "if approved.entry.role not in stage.roles:",
        "if not approved.entry.role:",
        "an external site trains",
    ),
    Break(
        "client/answers/answer.py",
        "if not 1 <= request.round <= stage.rounds:",
        "if not 1 <= request.round:",
        "rounds go on beyond the plan",
    ),
    Break(
        "client/answers/answer.py",
        "if vector_sha256(request.vector) != start:",
        "if not start:",
        "round 1 may start from any weights",
    ),
    Break(
        "client/answers/asked.py",
        "and lock.release_sha256 == request.release_sha256",
        "and lock.release_sha256",
        "another release than the locked one is measured",
    ),
    Break(
        "client/answers/asked.py",
        "if 0 < len(data.arrays.patients) < stage.minimum_patients:",
        "if 0 < len(data.arrays.patients) < 1:",
        "a lock is measured before there are enough patients",
    ),
    Break(
        "client/gate/gate.py",
        "if (message.plan_sha256, message.stage, message.round) != asked:",
        "if (message.plan_sha256, message.stage) != asked[:2]:",
        "a charge of one round pays for another",
    ),
    Break(
        "client/gate/gate.py",
        "total = bound.suppress(total, gate.policy.minimum_cell, gate._shown_before(row))",
        "total = bound.suppress(total, 1, gate._shown_before(row))",
        "cells of one patient leave",
    ),
    Break(
        "client/gate/gate.py",
        "total = bound.suppress(total, gate.policy.minimum_cell, gate._shown_before(row))",
        "total = bound.suppress(total, gate.policy.minimum_cell, ())",
        "two governed releases can be subtracted",
    ),
    Break(
        "client/gate/ledger.py",
        "if any(row.members_sha256 != members_sha256(members) for row in before):",
        "if False:",
        "exact figures of other patients of a split leave",
    ),
    Break(
        "shared/measure/governed/disclosure.py",
        "has_classes = has_patients and min(n_positive, n_negative) >= minimum_cell",
        "has_classes = has_patients",
        "the size of a small class follows from the shares",
    ),
    Break(
        "shared/measure/governed/disclosure.py",
        "for other in (0, size, *others))",
        "for other in (0, size))",
        "patients between two cuts can be counted",
    ),
    Break(
        "shared/measure/governed/disclosure.py",
        " or any(math.isnan(before[name]) for before in earlier)",
        "",
        "a later share tells on which side the few are",
    ),
    Break(
        "client/gate/gate.py",
        'if message.status == "measured" or message.total.size:',
        'if message.status == "measured":',
        "a total leaves without a charge, called a status",
    ),
    Break(
        "client/site/approved.py",
        'if is_ours and record["under"] == self._under',
        "if is_ours",
        "what was settled under another policy holds",
    ),
    Break(
        "client/site/approved.py",
        '"policy": self.site.policy.model_dump(mode="json"),',
        '"policy": "",',
        "a stricter policy is not asked again",
    ),
    Break(
        "client/cohort/versions.py",
        "return frozenset(newest.patients()).union(*(patients_of(folder) for folder in older))",
        "return frozenset(newest.patients())",
        "who left a cohort is measured as if never trained",
    ),
    Break(
        "server/rounds/loop.py",
        "if len(present) >= needed and not (number == 1 and absent):",
        "if len(present) >= needed:",
        "a required site may miss the first round",
    ),
    Break(
        "server/rounds/loop.py",
        "return reply.status == MEASURED and reply.release_sha256 == about.release_sha256",
        "return reply.status == MEASURED",
        "the table of another release is kept",
        ("server/rounds/test_loop_measuring.py",),
    ),
    Break(
        "server/rounds/replies.py",
        "if reply.vector_sha256 != self.vector_sha256:",
        "if not reply.vector_sha256:",
        "a total of another state is added",
    ),
    Break(
        "server/rounds/replies.py",
        "length = bound.length if is_measured else 0",
        "length = total.size",
        "a total of any length is taken",
    ),
    Break(
        "server/rounds/asked_state.py",
        'lock_sha256=lock_hash(store) if stage.patients == "accrued" else "",',
        'lock_sha256="",',
        "a prospective table names no lock",
    ),
    Break(
        "server/run/stage_folder.py",
        'if vector_sha256(vector) != state["vector_sha256"]:',
        'if not state["vector_sha256"]:',
        "a damaged state is gone on from",
    ),
    Break(
        "server/run/stage_folder.py",
        '{"vector": state.vector, **state.state.memory},',
        '{"vector": state.vector},',
        "what a learner must remember is lost in a halt",
    ),
    Break(
        "server/report/further.py",
        "found.append(pool_tables(tables))",
        "found.append(tables[0])",
        "the first site is shown as all of them",
    ),
    Break(
        "server/run/prepare.py",
        'if (folder / "run.json").exists():',
        'if (folder / "plan.json").exists():',
        "a run that was never laid out is opened",
    ),
    Break(
        "shared/train/rows.py",
        "rows = [_gradient_of_one(model, part.select([row]), loss) for row in range(len(part))]",
        "rows = [_gradient_of_one(model, part, loss) for row in range(len(part))]",
        "every patient has the first one's gradient",
    ),
    Break(
        "shared/train/rows.py",
        "found[name] = found[name] + rows if name in found else rows",
        "found[name] = rows",
        "a layer that is met twice counts once",
    ),
    Break(
        "shared/train/patient_gradients.py",
        "/ norms).clamp(max=1.0) / spacing_of(clip_norm)",
        "/ norms) / spacing_of(clip_norm)",
        "small gradients are blown up to the clip norm",
    ),
    Break(
        "shared/train/patient_gradients.py",
        "    _drop_rows(rows, ~is_finite)",
        "    _drop_rows(rows, is_finite)",
        "who is not finite is added and the others are not",
    ),
    Break(
        "shared/train/local_steps.py",
        "if clip_norm is None and noise_multiplier > 0:",
        "if clip_norm is None and noise_multiplier < 0:",
        "noise is drawn though nothing is clipped",
    ),
    Break(
        "shared/train/local_steps.py",
        "n_tail = max(1, math.ceil(local_tail * steps))",
        "n_tail = max(1, math.floor(local_tail * steps))",
        "the tail of local steps is a step short",
    ),
    Break(
        "shared/train/local_steps.py",
        "released: Floats = total[n_canaries:].cpu().numpy()",
        "released: Floats = total[: len(total) - n_canaries].cpu().numpy()",
        "what leaves is the sum of the canaries",
    ),
)
