# Answers of R to the fixed data of docs/references.md. From the repository's root:
#   Rscript tests/practice/references/answers.R 2026-11-26
# with the day as argument; needs pROC, metafor, jsonlite and digest (Debian: r-cran-proc, r-cran-metafor,
# r-cran-jsonlite, r-cran-digest). Each answer is a vector of numbers in the order that the table reads.
library(pROC)
library(metafor)
here <- "tests/practice/references"
path <- file.path(here, "data.json")
d <- jsonlite::fromJSON(path)
z <- qnorm(0.975)
answers <- list()

# pROC: ranking
a <- roc(d$is_ill, d$probability, direction = "<", quiet = TRUE)
b <- roc(d$is_ill, d$rival, direction = "<", quiet = TRUE)
other <- roc(d$other_ill, d$other_probability, direction = "<", quiet = TRUE)
answers$auc <- as.numeric(auc(a))
answers$delong_variance <- var(a, method = "delong")
paired <- roc.test(a, b, method = "delong", paired = TRUE)
answers$paired <- c(paired$statistic, paired$p.value)
apart <- roc.test(a, other, method = "delong", paired = FALSE)
gap <- auc(a) - auc(other)
sd_gap <- sqrt(var(a, method = "delong") + var(other, method = "delong"))
# pROC holds its statistic against Student's t; with variances alone there are no degrees of freedom
answers$unpaired <- c(gap, apart$statistic, 2 * pnorm(-abs(apart$statistic)), gap - z * sd_gap,
                      gap + z * sd_gap)
centre <- qlogis(as.numeric(auc(a)))
half <- z * sqrt(var(a, method = "delong")) / (auc(a) * (1 - auc(a)))
answers$logit_interval <- plogis(c(centre - half, centre + half))

# metafor: random effects of AUCs on the logit scale
pool <- function(auc, variance) {
  found <- rma(yi = qlogis(auc), vi = variance / (auc * (1 - auc))^2, method = "REML", test = "adhoc",
               control = list(threshold = 1e-14, maxiter = 10000))
  y <- qlogis(auc)
  v <- variance / (auc * (1 - auc))^2
  # prediction over the confidence distribution of tau^2: Q-profile of Viechtbauer 2007, by hand
  q_of <- function(tau2) {
    w <- 1 / (v + tau2)
    sum(w * (y - sum(w * y) / sum(w))^2)
  }
  tau2 <- sapply(qchisq((1:99 - 0.5) / 99, length(y) - 1), function(wanted) {
    if (q_of(0) <= wanted) return(0)
    uniroot(function(t) q_of(t) - wanted, c(0, 10), tol = 1e-16, maxiter = 10000)$root
  })
  mean <- sapply(tau2, function(t) weighted.mean(y, 1 / (v + t)))
  sd <- sapply(tau2, function(t) sqrt(t + 1 / sum(1 / (v + t))))
  reach <- sapply(c(0.025, 0.975), function(p) {
    uniroot(function(x) base::mean(pnorm((x - mean) / sd)) - p, c(-20, 20), tol = 1e-14, maxiter = 10000)$root
  })
  reach <- c(min(reach[1], found$ci.lb), max(reach[2], found$ci.ub))  # no narrower than the mean's
  list(tau2 = found$tau2, mean = plogis(as.numeric(found$beta)), interval = plogis(c(found$ci.lb, found$ci.ub)),
       prediction = plogis(reach))
}
apart_sites <- pool(d$site_auc, d$site_variance)
alike_sites <- pool(d$alike_auc, d$alike_variance)
for (name in names(apart_sites)) {
  answers[[paste0("pooled_", name)]] <- c(apart_sites[[name]], alike_sites[[name]])
}

# stats: numbers
error <- d$prediction - d$target
answers$r2 <- 1 - sum(error^2) / sum((d$target - mean(d$target))^2)
answers$mae <- mean(abs(error))
answers$rmse <- sqrt(mean(error^2))
spread <- sd(error)
answers$bland_altman <- c(mean(error), mean(error) - 1.96 * spread, mean(error) + 1.96 * spread)
line <- lm(target ~ prediction, data = data.frame(target = d$target, prediction = d$prediction))
answers$line <- c(coef(line)[2], confint(line)[2, ], coef(line)[1], confint(line)[1, ])

# stats: probabilities in bins, which stand for their middles
bin <- factor(floor(d$probability * d$bins), levels = 0:(d$bins - 1))
ill <- as.numeric(table(bin[d$is_ill == 1]))
well <- as.numeric(table(bin[d$is_ill == 0]))
logit <- qlogis((0:(d$bins - 1) + 0.5) / d$bins)
tight <- glm.control(epsilon = 1e-15, maxit = 100)
held <- ill + well > 0
counts <- cbind(ill, well)[held, ]
logit <- logit[held]
of <- function(fit, name) {
  found <- summary(fit)$coefficients[name, ]
  found[1] + c(0, -z, z) * found[2]
}
answers$calibration_intercept <- of(glm(counts ~ 1 + offset(logit), family = binomial, control = tight),
                                    "(Intercept)")
answers$calibration_slope <- of(glm(counts ~ logit, family = binomial, control = tight), "logit")

# by hand: a cut and all thresholds
above <- floor(d$probability * d$bins) >= d$cut_bin
tp <- sum(above & d$is_ill == 1); fn <- sum(!above & d$is_ill == 1)
fp <- sum(above & d$is_ill == 0); tn <- sum(!above & d$is_ill == 0)
sd_plus <- sqrt(1 / tp - 1 / (tp + fn) + 1 / fp - 1 / (fp + tn))
sd_minus <- sqrt(1 / fn - 1 / (tp + fn) + 1 / tn - 1 / (fp + tn))
plus <- (tp / (tp + fn)) / (fp / (fp + tn))
minus <- (fn / (tp + fn)) / (tn / (fp + tn))
answers$likelihood_ratio_intervals <- c(plus * exp(c(-z, z) * sd_plus), minus * exp(c(-z, z) * sd_minus))
thresholds <- (1:(d$bins - 1)) / d$bins
benefit <- function(t, treated) {
  (sum(treated & d$is_ill == 1) - sum(treated & d$is_ill == 0) * t / (1 - t)) / length(d$is_ill)
}
answers$net_benefit <- sapply(thresholds, function(t) benefit(t, d$probability >= t))
answers$net_benefit_of_all <- sapply(thresholds, function(t) benefit(t, rep(TRUE, length(d$is_ill))))

# stats: p-values
answers$holm <- p.adjust(d$p_values, "holm")

said <- function(package) paste(package, packageVersion(package))
certificate <- list(
  tool = paste0("R ", R.version$major, ".", R.version$minor, ", ", said("pROC"), ", ", said("metafor")),
  script = "answers.R", date = commandArgs(TRUE)[1],
  script_sha256 = digest::digest(file.path(here, "answers.R"), algo = "sha256", file = TRUE),
  data_sha256 = digest::digest(path, algo = "sha256", file = TRUE)
)
written <- lapply(answers, function(each) sprintf("%.17g", as.numeric(each)))
out <- list(certificate = certificate, answers = written)
writeLines(jsonlite::toJSON(out, auto_unbox = FALSE, pretty = 1), file.path(here, "answers_r.json"))
