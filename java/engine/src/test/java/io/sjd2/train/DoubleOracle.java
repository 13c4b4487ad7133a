package io.sjd2.train;

import java.util.LinkedHashMap;
import java.util.Map;

/// The trained network once more, in plain double loops, forward and backward: what the f64 columns of the fixtures and
/// the native operations are held to. Slow and obvious.
final class DoubleOracle {
    private static final double QK_EPS = 1e-5;

    /// What one pass sees: `ids`, `mask`, `alpha`, `sigma`, `timestep`, `noisy` are `[sequences, length]`, `noise`
    /// `[sequences, length, hidden]`.
    record Batch(
            int sequences,
            int length,
            double[] ids,
            double[] mask,
            double[] noisy,
            double[] alpha,
            double[] sigma,
            double[] timestep,
            double[] noise) {}

    private final NetworkShape shape;
    private final double eps;
    private final double[] mean;
    private final double[] std;
    private final Map<String, double[]> params;
    private final Map<String, double[]> grads = new LinkedHashMap<>();
    private final Map<String, double[]> first = new LinkedHashMap<>();
    private final Map<String, double[]> second = new LinkedHashMap<>();
    private int steps;

    DoubleOracle(NetworkShape shape, double eps, Map<String, double[]> initial, double[] mean, double[] std) {
        this.shape = shape;
        this.eps = eps;
        this.mean = mean;
        this.std = std;
        this.params = new LinkedHashMap<>();
        initial.forEach((name, values) -> params.put(name, values.clone()));
    }

    Map<String, double[]> params() {
        return params;
    }

    Map<String, double[]> grads() {
        return grads;
    }

    private double[] p(String name) {
        return params.get(name);
    }

    private double[] g(String name) {
        return grads.get(name);
    }

    /// `y[m, out] = x[m, in] W^T`.
    private static double[] linear(double[] x, double[] w, int m, int in, int out) {
        double[] y = new double[m * out];
        for (int i = 0; i < m; i++) {
            for (int o = 0; o < out; o++) {
                double s = 0;
                for (int j = 0; j < in; j++) {
                    s += x[i * in + j] * w[o * in + j];
                }
                y[i * out + o] = s;
            }
        }
        return y;
    }

    /// Gradient of the input; adds that of the weight.
    private static double[] linearBack(double[] dy, double[] x, double[] w, double[] dw, int m, int in, int out) {
        double[] dx = new double[m * in];
        for (int i = 0; i < m; i++) {
            for (int o = 0; o < out; o++) {
                double d = dy[i * out + o];
                for (int j = 0; j < in; j++) {
                    dx[i * in + j] += d * w[o * in + j];
                    dw[o * in + j] += d * x[i * in + j];
                }
            }
        }
        return dx;
    }

    /// As {@link #linear}, with the bias beside the weight if there is one.
    private double[] product(double[] x, String weight, int m, int in, int out) {
        double[] y = linear(x, p(weight), m, in, out);
        double[] bias = p(biasOf(weight));
        for (int i = 0; bias != null && i < y.length; i++) {
            y[i] += bias[i % out];
        }
        return y;
    }

    private double[] productBack(double[] dy, double[] x, String weight, int m, int in, int out) {
        double[] bias = g(biasOf(weight));
        for (int i = 0; bias != null && i < dy.length; i++) {
            bias[i % out] += dy[i];
        }
        return linearBack(dy, x, p(weight), g(weight), m, in, out);
    }

    private static String biasOf(String weight) {
        return weight.replace(".weight", ".bias");
    }

    private double[] rms(double[] x, double[] w, int m) {
        int d = w.length;
        double[] y = new double[m * d];
        for (int i = 0; i < m; i++) {
            double r = inverseRms(x, i, d);
            for (int j = 0; j < d; j++) {
                y[i * d + j] = x[i * d + j] * r * w[j];
            }
        }
        return y;
    }

    private double inverseRms(double[] x, int row, int d) {
        double s = 0;
        for (int j = 0; j < d; j++) {
            s += x[row * d + j] * x[row * d + j];
        }
        return 1 / Math.sqrt(s / d + eps);
    }

    private double[] rmsBack(double[] dy, double[] x, double[] w, double[] dw, int m) {
        int d = w.length;
        double[] dx = new double[m * d];
        for (int i = 0; i < m; i++) {
            double r = inverseRms(x, i, d);
            double dot = 0;
            for (int j = 0; j < d; j++) {
                dot += dy[i * d + j] * w[j] * x[i * d + j];
                dw[j] += dy[i * d + j] * x[i * d + j] * r;
            }
            for (int j = 0; j < d; j++) {
                dx[i * d + j] = r * (dy[i * d + j] * w[j] - x[i * d + j] * r * r * dot / d);
            }
        }
        return dx;
    }

    private static final class LayerState {
        double[] in;
        double[] normed;
        double[] raw;
        double[] rotated;
        double[] value;
        double[][] probs;
        double[] attended;
        double[] middle;
        double[] middleNormed;
        double[] gate;
        double[] up;
        double[] act;
    }

    private String layer(int l, String name) {
        return "model.layers." + l + "." + name;
    }

    /// One pass; fills {@link #grads()}.
    ///
    /// @return the mean loss
    double pass(Batch b) {
        int d = shape.hiddenSize();
        int t = b.length();
        int m = b.sequences() * t;
        grads.clear();
        params.forEach((name, values) -> grads.put(name, new double[values.length]));
        double[] table = p("model.embed_tokens.weight");
        double[] x = new double[m * d];
        double[][] waves = new double[m][];
        double[][] before = new double[m][];
        double[][] hidden = new double[m][];
        for (int i = 0; i < m; i++) {
            int id = (int) b.ids()[i];
            boolean noisy = b.noisy()[i] != 0;
            double[] level = new double[d];
            if (noisy) {
                waves[i] = wave(b.timestep()[i]);
                before[i] = linear(waves[i], p("time_embed.fc1.weight"), 1, waves[i].length, shape.levelHidden());
                hidden[i] = new double[before[i].length];
                for (int j = 0; j < hidden[i].length; j++) {
                    before[i][j] += p("time_embed.fc1.bias")[j];
                    hidden[i][j] = before[i][j] / (1 + Math.exp(-before[i][j]));
                }
                level = linear(hidden[i], p("time_embed.fc2.weight"), 1, hidden[i].length, d);
            }
            for (int j = 0; j < d; j++) {
                double e = table[id * d + j];
                x[i * d + j] = noisy
                        ? (b.alpha()[i] * (e - mean[j]) / std[j] + b.sigma()[i] * b.noise()[i * d + j]) * std[j]
                                + mean[j]
                                + level[j]
                                + p("time_embed.fc2.bias")[j]
                        : e;
            }
        }
        LayerState[] states = new LayerState[shape.layers()];
        for (int l = 0; l < states.length; l++) {
            states[l] = new LayerState();
            x = forward(l, states[l], x, b.sequences(), t);
        }
        double[] normed = rms(x, p("model.norm.weight"), m);
        int vocab = shape.headRows();
        double[] logits = linear(normed, p(shape.headName()), m, d, vocab);
        double count = 0;
        for (int i = 0; i < m; i++) {
            count += i % t > 0 ? b.mask()[i] : 0;
        }
        double loss = 0;
        double[] dLogits = new double[m * vocab];
        for (int i = 0; i < m; i++) {
            if (i % t + 1 >= t || b.mask()[i + 1] == 0) {
                continue;
            }
            double top = Double.NEGATIVE_INFINITY;
            for (int v = 0; v < vocab; v++) {
                top = Math.max(top, logits[i * vocab + v]);
            }
            double total = 0;
            for (int v = 0; v < vocab; v++) {
                total += Math.exp(logits[i * vocab + v] - top);
            }
            int target = (int) b.ids()[i + 1];
            loss += (Math.log(total) + top - logits[i * vocab + target]) / count;
            for (int v = 0; v < vocab; v++) {
                dLogits[i * vocab + v] =
                        (Math.exp(logits[i * vocab + v] - top) / total - (v == target ? 1 : 0)) / count;
            }
        }
        double[] dNormed = linearBack(dLogits, normed, p(shape.headName()), g(shape.headName()), m, d, vocab);
        double[] dx = rmsBack(dNormed, x, p("model.norm.weight"), g("model.norm.weight"), m);
        for (int l = states.length - 1; l >= 0; l--) {
            dx = backward(l, states[l], dx, b.sequences(), t);
        }
        double[] dTable = g("model.embed_tokens.weight");
        for (int i = 0; i < m; i++) {
            boolean noisy = b.noisy()[i] != 0;
            double[] row = new double[d];
            for (int j = 0; j < d; j++) {
                row[j] = dx[i * d + j];
                dTable[(int) b.ids()[i] * d + j] += (noisy ? b.alpha()[i] : 1) * row[j];
            }
            if (noisy) {
                add(g("time_embed.fc2.bias"), row);
                double[] dh = linearBack(
                        row, hidden[i], p("time_embed.fc2.weight"), g("time_embed.fc2.weight"), 1, hidden[i].length, d);
                for (int j = 0; j < dh.length; j++) {
                    double s = 1 / (1 + Math.exp(-before[i][j]));
                    dh[j] *= s * (1 + before[i][j] * (1 - s));
                }
                add(g("time_embed.fc1.bias"), dh);
                linearBack(
                        dh,
                        waves[i],
                        p("time_embed.fc1.weight"),
                        g("time_embed.fc1.weight"),
                        1,
                        waves[i].length,
                        dh.length);
            }
        }
        return loss;
    }

    private static void add(double[] into, double[] values) {
        for (int j = 0; j < values.length; j++) {
            into[j] += values[j];
        }
    }

    private double[] wave(double t) {
        int half = shape.levelInputs() / 2;
        double[] w = new double[2 * half];
        for (int i = 0; i < half; i++) {
            double angle = t * Math.pow(NetworkShape.LEVEL_MAX_PERIOD, -(double) i / half);
            w[i] = Math.cos(angle);
            w[half + i] = Math.sin(angle);
        }
        return w;
    }

    /// Query and key heads of `[m, heads, headDim]`, rotated in place.
    private void rotate(double[] x, int heads, int m, int t, double sign) {
        int hd = shape.headDim();
        int half = hd / 2;
        for (int i = 0; i < m; i++) {
            for (int h = 0; h < heads; h++) {
                for (int j = 0; j < half; j++) {
                    double angle = i % t * Math.pow(shape.ropeTheta(), -2.0 * j / hd);
                    int lo = (i * heads + h) * hd + j;
                    double a = x[lo];
                    double b = x[lo + half];
                    x[lo] = a * Math.cos(angle) - sign * b * Math.sin(angle);
                    x[lo + half] = b * Math.cos(angle) + sign * a * Math.sin(angle);
                }
            }
        }
    }

    private double[] headNorm(double[] x, int heads, int m, double[] w, double[] bias) {
        int hd = shape.headDim();
        double[] y = new double[x.length];
        for (int i = 0; i < m * heads; i++) {
            int row = i % heads / (heads / (w.length / hd)) * hd;
            double[] moments = moments(x, i * hd, hd);
            for (int j = 0; j < hd; j++) {
                y[i * hd + j] = (x[i * hd + j] - moments[0]) * moments[1] * w[row + j] + bias[row + j];
            }
        }
        return y;
    }

    private static double[] moments(double[] x, int at, int n) {
        double s = 0;
        for (int j = 0; j < n; j++) {
            s += x[at + j];
        }
        double mu = s / n;
        double v = 0;
        for (int j = 0; j < n; j++) {
            v += (x[at + j] - mu) * (x[at + j] - mu);
        }
        return new double[] {mu, 1 / Math.sqrt(v / n + QK_EPS)};
    }

    private double[] headNormBack(double[] dy, double[] x, int heads, int m, double[] w, double[] dw, double[] db) {
        int hd = shape.headDim();
        double[] dx = new double[x.length];
        for (int i = 0; i < m * heads; i++) {
            int row = i % heads / (heads / (w.length / hd)) * hd;
            double[] moments = moments(x, i * hd, hd);
            double sum = 0;
            double dot = 0;
            for (int j = 0; j < hd; j++) {
                double hat = (x[i * hd + j] - moments[0]) * moments[1];
                dw[row + j] += dy[i * hd + j] * hat;
                db[row + j] += dy[i * hd + j];
                sum += dy[i * hd + j] * w[row + j];
                dot += dy[i * hd + j] * w[row + j] * hat;
            }
            for (int j = 0; j < hd; j++) {
                double hat = (x[i * hd + j] - moments[0]) * moments[1];
                dx[i * hd + j] = moments[1] * (dy[i * hd + j] * w[row + j] - sum / hd - hat * dot / hd);
            }
        }
        return dx;
    }

    private double[] forward(int l, LayerState s, double[] x, int sequences, int t) {
        int d = shape.hiddenSize();
        int m = sequences * t;
        int hd = shape.headDim();
        int heads = shape.heads();
        int kv = shape.kvHeads();
        s.in = x;
        s.normed = rms(x, p(layer(l, "input_layernorm.weight")), m);
        double[] q = product(s.normed, layer(l, "self_attn.q_proj.weight"), m, d, heads * hd);
        double[] k = product(s.normed, layer(l, "self_attn.k_proj.weight"), m, d, kv * hd);
        s.value = product(s.normed, layer(l, "self_attn.v_proj.weight"), m, d, kv * hd);
        s.raw = join(q, k);
        if (shape.normsHeads()) {
            q = headNorm(q, heads, m, p(layer(l, "self_attn.q_norm.weight")), p(layer(l, "self_attn.q_norm.bias")));
            k = headNorm(k, kv, m, p(layer(l, "self_attn.k_norm.weight")), p(layer(l, "self_attn.k_norm.bias")));
        }
        rotate(q, heads, m, t, 1);
        rotate(k, kv, m, t, 1);
        s.rotated = join(q, k);
        s.attended = new double[m * heads * hd];
        s.probs = new double[m * heads][];
        for (int i = 0; i < m; i++) {
            for (int h = 0; h < heads; h++) {
                int g = h / (heads / kv);
                int begin = i - i % t;
                double[] probs = new double[i % t + 1];
                double top = Double.NEGATIVE_INFINITY;
                for (int u = 0; u < probs.length; u++) {
                    double dot = 0;
                    for (int j = 0; j < hd; j++) {
                        dot += q[(i * heads + h) * hd + j] * k[((begin + u) * kv + g) * hd + j];
                    }
                    probs[u] = dot / Math.sqrt(hd);
                    top = Math.max(top, probs[u]);
                }
                double total = 0;
                for (int u = 0; u < probs.length; u++) {
                    probs[u] = Math.exp(probs[u] - top);
                    total += probs[u];
                }
                for (int u = 0; u < probs.length; u++) {
                    probs[u] /= total;
                    for (int j = 0; j < hd; j++) {
                        s.attended[(i * heads + h) * hd + j] += probs[u] * s.value[((begin + u) * kv + g) * hd + j];
                    }
                }
                s.probs[i * heads + h] = probs;
            }
        }
        s.middle = product(s.attended, layer(l, "self_attn.o_proj.weight"), m, heads * hd, d);
        add(s.middle, x);
        s.middleNormed = rms(s.middle, p(layer(l, "post_attention_layernorm.weight")), m);
        int inter = shape.intermediateSize();
        s.gate = product(s.middleNormed, layer(l, "mlp.gate_proj.weight"), m, d, inter);
        s.up = product(s.middleNormed, layer(l, "mlp.up_proj.weight"), m, d, inter);
        s.act = new double[m * inter];
        for (int i = 0; i < s.act.length; i++) {
            s.act[i] = s.gate[i] / (1 + Math.exp(-s.gate[i])) * s.up[i];
        }
        double[] out = product(s.act, layer(l, "mlp.down_proj.weight"), m, inter, d);
        add(out, s.middle);
        return out;
    }

    private static double[] join(double[] a, double[] b) {
        double[] out = new double[a.length + b.length];
        System.arraycopy(a, 0, out, 0, a.length);
        System.arraycopy(b, 0, out, a.length, b.length);
        return out;
    }

    private double[] backward(int l, LayerState s, double[] dx, int sequences, int t) {
        int d = shape.hiddenSize();
        int m = sequences * t;
        int hd = shape.headDim();
        int heads = shape.heads();
        int kv = shape.kvHeads();
        int inter = shape.intermediateSize();
        String down = layer(l, "mlp.down_proj.weight");
        double[] dAct = productBack(dx, s.act, down, m, inter, d);
        double[] dGate = new double[dAct.length];
        double[] dUp = new double[dAct.length];
        for (int i = 0; i < dAct.length; i++) {
            double sig = 1 / (1 + Math.exp(-s.gate[i]));
            dUp[i] = dAct[i] * s.gate[i] * sig;
            dGate[i] = dAct[i] * s.up[i] * sig * (1 + s.gate[i] * (1 - sig));
        }
        String gate = layer(l, "mlp.gate_proj.weight");
        String up = layer(l, "mlp.up_proj.weight");
        double[] dh = productBack(dGate, s.middleNormed, gate, m, d, inter);
        add(dh, productBack(dUp, s.middleNormed, up, m, d, inter));
        String post = layer(l, "post_attention_layernorm.weight");
        double[] dMiddle = rmsBack(dh, s.middle, p(post), g(post), m);
        add(dMiddle, dx);
        String o = layer(l, "self_attn.o_proj.weight");
        double[] dAttended = productBack(dMiddle, s.attended, o, m, heads * hd, d);
        double[] dq = new double[m * heads * hd];
        double[] dk = new double[m * kv * hd];
        double[] dv = new double[m * kv * hd];
        int qSize = dq.length;
        for (int i = 0; i < m; i++) {
            for (int h = 0; h < heads; h++) {
                int group = h / (heads / kv);
                int begin = i - i % t;
                double[] probs = s.probs[i * heads + h];
                double[] dp = new double[probs.length];
                double mix = 0;
                for (int u = 0; u < probs.length; u++) {
                    for (int j = 0; j < hd; j++) {
                        double go = dAttended[(i * heads + h) * hd + j];
                        int at = ((begin + u) * kv + group) * hd + j;
                        dp[u] += go * s.value[at];
                        dv[at] += probs[u] * go;
                    }
                    mix += probs[u] * dp[u];
                }
                for (int u = 0; u < probs.length; u++) {
                    double ds = probs[u] * (dp[u] - mix) / Math.sqrt(hd);
                    for (int j = 0; j < hd; j++) {
                        int qa = (i * heads + h) * hd + j;
                        int ka = ((begin + u) * kv + group) * hd + j;
                        dq[qa] += ds * s.rotated[qSize + ka];
                        dk[ka] += ds * s.rotated[qa];
                    }
                }
            }
        }
        rotate(dq, heads, m, t, -1);
        rotate(dk, kv, m, t, -1);
        if (shape.normsHeads()) {
            double[] rawQ = java.util.Arrays.copyOfRange(s.raw, 0, qSize);
            double[] rawK = java.util.Arrays.copyOfRange(s.raw, qSize, s.raw.length);
            String qn = layer(l, "self_attn.q_norm.");
            String kn = layer(l, "self_attn.k_norm.");
            dq = headNormBack(dq, rawQ, heads, m, p(qn + "weight"), g(qn + "weight"), g(qn + "bias"));
            dk = headNormBack(dk, rawK, kv, m, p(kn + "weight"), g(kn + "weight"), g(kn + "bias"));
        }
        double[] dNormed = new double[m * d];
        String[] names = {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"};
        double[][] each = {dq, dk, dv};
        for (int i = 0; i < names.length; i++) {
            String name = layer(l, names[i]);
            add(dNormed, productBack(each[i], s.normed, name, m, d, each[i].length / m));
        }
        String input = layer(l, "input_layernorm.weight");
        double[] dIn = rmsBack(dNormed, s.in, p(input), g(input), m);
        add(dIn, dMiddle);
        return dIn;
    }

    /// One AdamW step on every parameter from {@link #grads()}.
    void adamw(double lr, double beta1, double beta2, double epsilon, double decay) {
        steps++;
        params.forEach((name, w) -> {
            double[] m = first.computeIfAbsent(name, n -> new double[w.length]);
            double[] v = second.computeIfAbsent(name, n -> new double[w.length]);
            double[] gradient = grads.get(name);
            for (int i = 0; i < w.length; i++) {
                w[i] -= lr * decay * w[i];
                m[i] = beta1 * m[i] + (1 - beta1) * gradient[i];
                v[i] = beta2 * v[i] + (1 - beta2) * gradient[i] * gradient[i];
                w[i] -= lr
                        * (m[i] / (1 - Math.pow(beta1, steps)))
                        / (Math.sqrt(v[i] / (1 - Math.pow(beta2, steps))) + epsilon);
            }
        });
    }
}
