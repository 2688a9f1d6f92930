# %% [markdown]
# # A table, from its odd rows to a better classifier
#
# scikit-learn's breast cancer data as a data frame: 569 rows, 30 numbers and a diagnosis.
# Needs `pip install 'vaekit[tables]'`.

# %%
import numpy as np
import polars as pl
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vaekit import VAEDetector, VAESynthesizer, VAETransformer

data = load_breast_cancer()
frame = pl.DataFrame({str(name): data.data[:, i] for i, name in enumerate(data.feature_names)})
frame = frame.with_columns(pl.Series("diagnosis", [str(data.target_names[k]) for k in data.target]))
train, test = train_test_split(frame, test_size=0.3, random_state=0, stratify=frame["diagnosis"])
measured = [name for name in frame.columns if name != "diagnosis"]
print(train.shape, test.shape)

# %% [markdown]
# ## Odd rows
#
# A detector that has seen benign rows only. Scores are scikit-learn's: higher is more normal. A p-value of 0.01
# means that one benign row in a hundred looks as odd.

# %%
benign = train.filter(pl.col("diagnosis") == "benign").select(measured)
detector = VAEDetector(random_state=0).fit(benign)
malignant = (test["diagnosis"] == "malignant").to_numpy()
detected = roc_auc_score(malignant, -detector.score_samples(test.select(measured)))
p = detector.p_values(test.select(measured))
print(f"malignant rows by oddness alone: AUROC {detected:.3f}")
flagged, alarms = np.mean(p[malignant] <= 0.05), np.mean(p[~malignant] <= 0.05)
print(f"flagged at p <= 0.05: {flagged:.0%} of malignant rows, {alarms:.0%} of benign ones")

# %% [markdown]
# Which columns made the oddest row odd? The attributions of a row add up to its score.

# %%
oddest = test.select(measured)[int(np.argmin(p))]
why = np.asarray(detector.attribute(oddest))[0]
print([(measured[k], round(float(why[k]), 1)) for k in np.argsort(-why)[:3]])

# %% [markdown]
# ## New rows
#
# Rows like the training rows, of the same kind of frame, with the same dtypes; and rows as asked for.

# %%
synthesizer = VAESynthesizer(random_state=0).fit(train)
new = synthesizer.sample(len(train), random_state=1)
print(new.head(3))
sick = synthesizer.sample(100, where={"diagnosis": "malignant"}, random_state=1)
print(sick["mean radius"].mean(), "beside", train.filter(pl.col("diagnosis") == "malignant")["mean radius"].mean())

# %% [markdown]
# Are they useful? Trees that have seen new rows only, tried on real ones.


# %%
def trained_on(rows: pl.DataFrame) -> float:
    trees = HistGradientBoostingClassifier(random_state=0).fit(
        rows.select(measured).to_numpy(), rows["diagnosis"].to_numpy()
    )
    return float(roc_auc_score(malignant, trees.predict_proba(test.select(measured).to_numpy())[:, 1]))


synthetic, real = trained_on(new), trained_on(train)
print(f"AUROC of trees trained on new rows {synthetic:.3f}, on real rows {real:.3f}")

# %% [markdown]
# ## Fewer columns
#
# 30 columns as 4, in a pipeline.

# %%
pipe = make_pipeline(StandardScaler(), VAETransformer(n_components=4, random_state=0), LogisticRegression())
pipe.fit(train.select(measured).to_numpy(), train["diagnosis"].to_numpy())
embedded = pipe.score(test.select(measured).to_numpy(), test["diagnosis"].to_numpy())
print(f"accuracy from 4 dimensions: {embedded:.3f}")

# %% [markdown]
# ## Few examples
#
# Twenty labelled rows of each class, alone and with 200 new rows of each from a model of the same forty.

# %%
few = pl.concat([train.filter(pl.col("diagnosis") == word).head(20) for word in ("benign", "malignant")])
maker = VAESynthesizer(random_state=0).fit(few)
more = pl.concat([maker.sample(200, where={"diagnosis": word}, random_state=2) for word in ("benign", "malignant")])
alone, helped = trained_on(few), trained_on(pl.concat([few, more.select(few.columns)]))
print(f"AUROC from 40 rows {alone:.3f}, with new rows {helped:.3f}")
