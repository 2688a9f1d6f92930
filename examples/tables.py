# %% [markdown]
# # A data frame: its odd rows, new rows, fewer columns, and a better classifier
#
# scikit-learn's breast cancer data as a pandas data frame of mixed columns: 29 numbers, a size in words and a
# diagnosis; one cell in twenty is missing. Needs `pip install 'vaekit[examples]'`, and takes less than a minute on
# two cores.

# %%
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vaekit import VAEDetector, VAESynthesizer, VAETransformer

data = load_breast_cancer(as_frame=True)
frame = data.data.copy()
frame["size"] = pd.cut(
    frame.pop("mean radius"), [0, 12, 15, 99], labels=["small", "medium", "large"]
).astype(str)
frame = frame.mask(np.random.default_rng(0).random(frame.shape) < 0.05)
measured, numbers = list(frame.columns), [name for name in frame.columns if name != "size"]
frame["diagnosis"] = data.target.map(dict(enumerate(data.target_names)))
train, test = train_test_split(frame, test_size=0.3, random_state=0, stratify=frame["diagnosis"])
malignant = (test["diagnosis"] == "malignant").to_numpy()
print(train.shape, test.shape, f"{frame.isna().mean().mean():.1%} of the cells are missing")

# %% [markdown]
# ## Odd rows
#
# A detector that has seen benign rows only; it takes numbers, some of which may be missing. Scores have scikit-
# learn's signs: higher is more normal. A p-value of 0.01 means that one benign row in a hundred looks as odd.

# %%
detector = VAEDetector(random_state=0).fit(train.loc[train["diagnosis"] == "benign", numbers])
detected = roc_auc_score(malignant, -detector.score_samples(test[numbers]))
p = detector.p_values(test[numbers])
print(f"malignant rows by oddness alone: AUROC {detected:.3f}")
flagged, alarms = np.mean(p[malignant] <= 0.05), np.mean(p[~malignant] <= 0.05)
print(f"flagged at p <= 0.05: {flagged:.0%} of malignant rows, {alarms:.0%} of benign ones")

# %% [markdown]
# Which columns made the oddest row odd? The attributions of a row add up to its score.

# %%
oddest = test[numbers].iloc[[np.argmin(detector.score_samples(test[numbers]))]]
why = pd.Series(detector.attribute(oddest)[0], index=numbers)
print(why.sort_values(ascending=False).head(3).round(1).to_string())

# %% [markdown]
# ## New rows
#
# Rows like the training rows, in the same kind of frame, with the same dtypes and as many cells missing; and rows as
# asked for.

# %%
synthesizer = VAESynthesizer(random_state=0).fit(train)
new = synthesizer.sample(len(train), random_state=1)
print(new[["mean texture", "mean area", "size", "diagnosis"]].head(3))
print(f"{new.isna().mean().mean():.1%} of the cells are missing")
sick = synthesizer.sample(100, where={"diagnosis": "malignant"}, random_state=1)
real = train[train["diagnosis"] == "malignant"]
areas = [f"{rows['mean area'].mean():.0f}" for rows in (sick, real)]
print("mean area of malignant rows, new and real:", *areas)

# %% [markdown]
# Are they useful? Boosted trees that have seen new rows only, tried on real ones, beside trees that have seen the
# real rows.


# %%
def plain(rows: pd.DataFrame) -> np.ndarray:
    """The columns as numbers, NaN where missing."""
    sizes = rows["size"].map({"small": 0, "medium": 1, "large": 2})
    return rows[measured].assign(size=sizes).to_numpy(float)


def trees(x: np.ndarray, y: np.ndarray, to: np.ndarray) -> float:
    fitted = HistGradientBoostingClassifier(min_samples_leaf=3, random_state=0).fit(x, y)
    return float(roc_auc_score(malignant, fitted.predict_proba(to)[:, 1]))


by_new, by_real = (
    trees(plain(rows), rows["diagnosis"] == "malignant", plain(test)) for rows in (new, train)
)
print(f"AUROC of trees trained on new rows {by_new:.3f}, on real rows {by_real:.3f}")

# %% [markdown]
# ## Fewer columns
#
# 30 columns of both kinds as 4 numbers, and back. Missing cells and words need no preparation.

# %%
transformer = VAETransformer(n_components=4, max_steps=600, random_state=0).fit(train[measured])
codes, codes_of_test = transformer.transform(train[measured]), transformer.transform(test[measured])
back = transformer.inverse_transform(codes_of_test)
explained = 1 - ((test[numbers] - back[numbers].to_numpy()) ** 2).mean() / test[numbers].var()
right = np.mean((back["size"].to_numpy() == test["size"].to_numpy())[test["size"].notna()])
print(
    f"from 4 numbers: {explained.mean():.0%} of the variance of the numbers, {right:.0%} of the sizes"
)

# %% [markdown]
# ## A better classifier?
#
# Now only twenty rows have a diagnosis, ten of each kind; the others have their columns alone, and the codes above
# were learned from all of them. Boosted trees and a linear classifier, each on the columns and on the codes, tried
# with twenty draws of the twenty rows.

# %%
linear = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=1000))
columns, columns_of_test, y = (
    plain(train),
    plain(test),
    (train["diagnosis"] == "malignant").to_numpy(),
)
results = []
for seed in range(20):
    random = np.random.default_rng(seed)
    few = np.concatenate(
        [random.choice(np.flatnonzero(y == kind), 10, replace=False) for kind in (False, True)]
    )
    result = {}
    for name, x, to in (("columns", columns, columns_of_test), ("codes", codes, codes_of_test)):
        result["trees", name] = trees(x[few], y[few], to)
        result["linear", name] = roc_auc_score(
            malignant, linear.fit(x[few], y[few]).decision_function(to)
        )
    results.append(result)
found = pd.DataFrame(results)
print(found.agg(["mean", "sem"]).T.round(3))

gains = {name: found[name, "codes"] - found[name, "columns"] for name in ("trees", "linear")}
for name, gain in gains.items():
    sure = abs(gain.mean()) > 2 * gain.sem()
    says = (
        ("codes help" if gain.mean() > 0 else "codes harm")
        if sure
        else "no difference beyond chance"
    )
    print(
        f"{name}: AUROC {gain.mean():+.3f} ± {gain.sem():.3f} by codes in place of columns: {says}"
    )
print("best of the four:", " on ".join(found.mean().idxmax()))

# %% [markdown]
# Few labels starve the trees, and codes that were learned without labels feed them. These classes lie on two sides of
# a plane, though, which the linear classifier finds in the columns themselves, and more surely: have one beside you
# before you take a VAE for a better classifier.
