// sjd2/kernels.h: the C ABI of inference, exported symbol for symbol by libsjd2_cpu, libsjd2_cuda and libsjd2_cuda_emu.
//
// Pointers live in the exporting library's memory space. Tensors are row-major with a dense last axis, extents are int64.
// Every function returns SJD2_OK or a negative sjd2_status; none throws, prints, exits or keeps a pointer.
// The message of the calling thread's last failure is sjd2_last_error().
//
// What changes between two passes never travels as a scalar: it lives in the state block (sjd2_sequence, sjd2_image), so
// that a decode iteration at one (batch, window) can be captured once and replayed.
//
// Row independence: what an operation writes for one row never depends on how many rows, sequences or threads are
// computed beside it. Sums run along K, and along the cache, in one order. `exact` decoding rests on it.
//
// In contracts: B sequences, M = max_window rows per sequence, I images, D = hidden_size, C = sampled codes.
// `rows` beyond a sequence's live rows are neither read nor written. Where `sequences` may be NULL every row is live.
#ifndef SJD2_KERNELS_H
#define SJD2_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SJD2_ABI_VERSION 1

typedef enum sjd2_status {
  SJD2_OK = 0,
  SJD2_BAD_ARGUMENT = -1,   // a null pointer, a negative extent, an unknown code
  SJD2_BAD_SHAPE = -2,      // extents that do not fit each other, or that the operation is not built for
  SJD2_OUT_OF_MEMORY = -3,  // workspace could not be had
  SJD2_LAUNCH_FAILED = -4,  // the device refused the launch
  SJD2_DEVICE_LOST = -5,    // close the backend
  SJD2_UNSUPPORTED = -6     // a valid case that this library does not build
} sjd2_status;

// Element types, in the order of io.sjd2.tensor.DType.
typedef enum sjd2_dtype {
  SJD2_F32 = 0,
  SJD2_BF16 = 1,
  SJD2_F16 = 2,
  SJD2_F64 = 3,
  SJD2_I32 = 4,
  SJD2_I64 = 5,
  SJD2_U8 = 6
} sjd2_dtype;

// A CPU thread pool, or a CUDA stream. One thread uses it at a time.
typedef struct sjd2_stream_t* sjd2_stream;

int32_t sjd2_abi_version(void);
const char* sjd2_last_error(void);
// The instruction set or device family that this library runs on: "generic", "avx2", "avx512", "avx512-bf16", "amx".
const char* sjd2_isa(void);
// threads <= 0 takes every core that the process may run on. The CUDA libraries ignore `threads` and take `native`, a CUstream.
int32_t sjd2_stream_create(sjd2_stream* out, int32_t threads, void* native);
int32_t sjd2_stream_threads(sjd2_stream stream, int32_t* out);
int32_t sjd2_stream_synchronize(sjd2_stream stream);
int32_t sjd2_stream_destroy(sjd2_stream stream);

// ---------------------------------------------------------------------------------------------------------------------
// State block
// ---------------------------------------------------------------------------------------------------------------------

// One row of the batch: a conditional or unconditional sequence with its KV cache.
typedef struct sjd2_sequence {
  int32_t kv_len;    // cache entries valid before this pass; live row w is written to entry kv_len + w
  int32_t rows;      // live rows of this pass, 0..max_window
  int32_t position;  // index of row 0 in the rotary table
  int32_t image;     // the image that it belongs to, in the image states; -1 in a prefill
} sjd2_sequence;

// Where a draft came from, which decides its test (docs/decoding.md, "What q is").
typedef enum sjd2_draft_kind {
  SJD2_DRAFT_NONE = 0,     // no token yet: a fresh slot, or one that was never predicted
  SJD2_DRAFT_UNIFORM = 1,  // drawn uniformly over the codes: q is 1/C everywhere
  SJD2_DRAFT_ROW = 2,      // drawn from the probability row of the previous iteration: that row is q
  SJD2_DRAFT_FORCED = 3    // a structural token: filled in, never tested
} sjd2_draft_kind;

// One window slot. Slot of absolute position a lives at index a % max_window of its image's ring.
typedef struct sjd2_draft {
  int32_t token;  // local id: [0, C) is a sampled code, from C on a forced token
  int32_t kind;   // sjd2_draft_kind
  int32_t level;  // noise level; 0 is clean
  int32_t age;    // passes that this slot has been an input of
} sjd2_draft;

typedef enum sjd2_decoder {
  SJD2_SEQUENTIAL = 0,   // ar: one row, one token
  SJD2_GREEDY = 1,       // jacobi: y = argmax p
  SJD2_INDEPENDENT = 2,  // sjd, sjd2: rejection test, fresh draws behind it
  SJD2_MAXIMAL = 3,      // -mc: maximal coupling
  SJD2_GUMBEL = 4,       // -gs: rejection test, drafts share Gumbel noise per position
  SJD2_EXACT = 5         // exact: fixed point of y = argmax(log p + gumbel(position))
} sjd2_decoder;

typedef enum sjd2_sampler { SJD2_SAMPLER_GUMBEL = 0, SJD2_SAMPLER_INVERSE_CDF = 1 } sjd2_sampler;

// Purposes of random numbers: stream high word = purpose * 2^24 + iteration.
// Philox4x32-10, key = seed, counter = (element / 4, image index, absolute position, stream high), word element % 4.
typedef enum sjd2_purpose {
  SJD2_PURPOSE_SEQUENTIAL = 0,  // inverse-CDF draws of `ar`: element = absolute position, position word 0, iteration 0
  SJD2_PURPOSE_GUMBEL = 1,      // element = code, iteration 0
  SJD2_PURPOSE_NOISE = 2,       // element = dimension, iteration 0: normals
  SJD2_PURPOSE_INIT = 3,        // element 0, iteration 0: the uniform token of a fresh slot
  SJD2_PURPOSE_ACCEPT = 4,      // element 0, iteration
  SJD2_PURPOSE_RESIDUAL = 5,    // element 0, iteration
  SJD2_PURPOSE_DRAW = 6         // element 0, iteration
} sjd2_purpose;

#define SJD2_IMAGE_OK 0
#define SJD2_IMAGE_NAN_LOGITS 1

// One image being generated. 128 bytes. The host writes the first half once; verify writes the second.
typedef struct sjd2_image {
  uint32_t seed_lo, seed_hi;
  uint32_t index;     // the image's own counter word
  int32_t length;     // positions to generate, forced ones included
  int32_t window;     // rows per pass, 1..max_window
  int32_t levels;     // N: level of a fresh slot; 0 starts slots as random tokens
  int32_t decoder;    // sjd2_decoder
  int32_t sampler;    // sjd2_sampler, read by SJD2_SEQUENTIAL only
  int32_t top_k;      // 0: off
  float top_p;        // >= 1: off
  float temperature;  // > 0
  float guidance;     // s of u + s (c - u); unused when uncond < 0
  int32_t cond;       // sequence of the prompt
  int32_t uncond;     // sequence without it, or -1
  int32_t restart;    // stalled passes in a row behind which the window starts again; 0: never
  int32_t reserved;
  // progress
  int32_t committed;    // n: positions final so far
  int32_t iteration;    // passes verified so far
  int32_t accepted;     // positions committed by the last verify
  int32_t status;       // SJD2_IMAGE_OK, or why the logits could not be used
  int32_t tested;       // drafts that met a test, in all
  int32_t kept;         // of those, how many passed
  int32_t tail;         // slots redrawn behind the committed prefix, in all
  int32_t tail_kept;    // of those, how many kept their token
  int32_t front_level;  // sum over passes of the first slot's noise level (0 in a healthy window)
  int32_t stalls;       // passes in a row, up to the last, that failed at a clean draft in the first slot
  int32_t restarts;     // windows started again, in all
  int32_t reserved2[5];
} sjd2_image;

// ---------------------------------------------------------------------------------------------------------------------
// Weights
// ---------------------------------------------------------------------------------------------------------------------

// pack_weights: a [n_out, n_in] matrix into the library's own layout for matmul.
//   Several matrices may share one packed matrix (q, k and v; gate and up): each call fills rows
//   [first_row, first_row + n_rows) of a packed matrix of n_out rows. The buffer must be zeroed beforehand.
//   dst  packed_elements(n_out, n_in) elements of dst_dtype (SJD2_F32 or SJD2_BF16), 64-byte aligned
//   src  [n_rows, n_in] of src_dtype (SJD2_F32, SJD2_BF16 or SJD2_F16), rounded to nearest even where narrower
int32_t sjd2_packed_elements(int64_t* out, int64_t n_out, int64_t n_in, int32_t dst_dtype);
int32_t sjd2_pack_weights(sjd2_stream stream, void* dst, const void* src, int64_t first_row, int64_t n_rows, int64_t n_out,
                          int64_t n_in, int32_t dst_dtype, int32_t src_dtype);

// convert: dst[i] = src[i] between SJD2_F32, SJD2_BF16 and SJD2_F16, rounded to nearest even.
int32_t sjd2_convert(sjd2_stream stream, void* dst, const void* src, int64_t n, int32_t dst_dtype, int32_t src_dtype);

// ---------------------------------------------------------------------------------------------------------------------
// The forward pass. The residual stream x is f32; what feeds a product has the weights' dtype T (f32 or bf16).
// ---------------------------------------------------------------------------------------------------------------------

// embed: out[r,:] = table[ids[r],:]
//   out   [rows, D] f32          table [vocab, D] T
//   ids   [rows] i32, in [0, vocab): anything else is SJD2_BAD_ARGUMENT and nothing is written
int32_t sjd2_embed_f32(sjd2_stream stream, float* out, const float* table, const int32_t* ids, int64_t rows, int64_t vocab,
                       int64_t hidden);
int32_t sjd2_embed_bf16(sjd2_stream stream, float* out, const uint16_t* table, const int32_t* ids, int64_t rows,
                        int64_t vocab, int64_t hidden);

// sequence_input: the window's input, handed to every sequence of its image.
//   x[b,w,:] = (committed == 0 && w == 0 ? last_prompt[b,:] : window_input[image,w,:]) + row_embed[t / grid_width,:]
//              + col_embed[t % grid_width,:],   t = committed + w, the position that row w predicts
//   x            [B, M, D] f32
//   window_input [I, M, D] f32     last_prompt [B, D] f32, the embedding of each prompt's last token
//   row_embed    [grid_height, D] f32, col_embed [grid_width, D] f32, or both NULL
int32_t sjd2_sequence_input_f32(sjd2_stream stream, float* x, const float* window_input, const float* last_prompt,
                                const float* row_embed, const float* col_embed, const sjd2_sequence* sequences,
                                const sjd2_image* images, int64_t batch, int64_t n_images, int64_t max_window, int64_t hidden,
                                int64_t grid_height, int64_t grid_width);

// rms_norm: out[r,:] = x[r,:] / sqrt(mean(x[r,:]^2) + eps) * weight
//   out [B, M, D] T   x [B, M, D] f32   weight [D] f32   sequences may be NULL
int32_t sjd2_rms_norm_f32(sjd2_stream stream, float* out, const float* x, const float* weight, const sjd2_sequence* sequences,
                          int64_t batch, int64_t max_window, int64_t hidden, float eps);
int32_t sjd2_rms_norm_bf16(sjd2_stream stream, uint16_t* out, const float* x, const float* weight,
                           const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t hidden, float eps);

// rms_norm_add: x[r,:] += rms_norm(delta[r,:]) (the placement that Chameleon calls swin_norm); f32, sequences may be NULL
int32_t sjd2_rms_norm_add_f32(sjd2_stream stream, float* x, const float* delta, const float* weight,
                              const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t hidden, float eps);

// round: out[r,:] = T(x[r,:]), for blocks whose input is not normalised. out [B, M, D] T, x [B, M, D] f32.
int32_t sjd2_round_f32(sjd2_stream stream, float* out, const float* x, const sjd2_sequence* sequences, int64_t batch,
                       int64_t max_window, int64_t hidden);
int32_t sjd2_round_bf16(sjd2_stream stream, uint16_t* out, const float* x, const sjd2_sequence* sequences, int64_t batch,
                        int64_t max_window, int64_t hidden);

// matmul: out[r,n] = (accumulate ? out[r,n] : 0) + bias[n] + sum_k x[r,k] * w[n,k]
//   out  [B, M, n_out] f32; overlaps no input      x [B, M, n_in] T      w packed [n_out, n_in] T
//   bias [n_out] f32 or NULL                        sequences may be NULL
//   One reduction order along k for every row count; f32 accumulation.
//   cost 2 rows n_out n_in FLOP; n_out n_in sizeof(T) bytes of weights
int32_t sjd2_matmul_f32(sjd2_stream stream, float* out, const float* x, const float* w, const float* bias,
                        const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t n_out, int64_t n_in,
                        int32_t accumulate);
int32_t sjd2_matmul_bf16(sjd2_stream stream, float* out, const uint16_t* x, const uint16_t* w, const float* bias,
                         const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t n_out, int64_t n_in,
                         int32_t accumulate);

// rope_append: per head an optional LayerNorm of q and k (no norm of v), rotary positions, append of k and v to the cache.
//   q         [B, M, n_heads, head_dim] T
//   k_cache,
//   v_cache   [B, kv_capacity, n_kv_heads, head_dim] T; row w goes to entry kv_len + w
//   qkv       [B, M, (n_heads + 2 n_kv_heads) * head_dim] f32: q heads, then k heads, then v heads
//   q_weight,
//   q_bias    [q_rows, head_dim] f32 or NULL; row h / (n_heads / q_rows) serves head h. k_* likewise over n_kv_heads.
//   rope      [rope_len, head_dim / 2, 2] f32: cos, sin; row = position + w
//   pairs     0: element i pairs with i + head_dim/2 (half split); 1: 2i pairs with 2i + 1
//   fails     SJD2_BAD_SHAPE if a live row would pass kv_capacity or rope_len, or q_rows does not divide n_heads
int32_t sjd2_rope_append_f32(sjd2_stream stream, float* q, float* k_cache, float* v_cache, const float* qkv,
                             const float* q_weight, const float* q_bias, const float* k_weight, const float* k_bias,
                             const float* rope, const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                             int64_t kv_capacity, int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, int64_t q_rows,
                             int64_t k_rows, int64_t rope_len, int32_t pairs, float norm_eps);
int32_t sjd2_rope_append_bf16(sjd2_stream stream, uint16_t* q, uint16_t* k_cache, uint16_t* v_cache, const float* qkv,
                              const float* q_weight, const float* q_bias, const float* k_weight, const float* k_bias,
                              const float* rope, const sjd2_sequence* sequences, int64_t batch, int64_t max_window,
                              int64_t kv_capacity, int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, int64_t q_rows,
                              int64_t k_rows, int64_t rope_len, int32_t pairs, float norm_eps);

// attention: out[b,w,h,:] = sum_t softmax_t(scale * q[b,w,h,:]·k[b,t,h/g,:]) v[b,t,h/g,:],  t <= kv_len + w
//   out, q    [B, M, n_heads, head_dim] T         k, v [B, kv_capacity, n_kv_heads, head_dim] T; g = n_heads / n_kv_heads
//   scale     > 0, usually 1/sqrt(head_dim); softmax and accumulation in f32
//             bf16: the weights of the softmax may be rounded to bf16 before they meet v, and are then summed as rounded
//   cost      per sequence 4 rows kv_len n_heads head_dim FLOP
//   fails     SJD2_BAD_SHAPE unless head_dim is even and at most 256 (64 and 128 are tuned) and n_kv_heads divides n_heads
//   source    online softmax, arXiv:2205.14135 Algorithm 1, over tiles of the cache that start at fixed entries
int32_t sjd2_attention_f32(sjd2_stream stream, float* out, const float* q, const float* k, const float* v,
                           const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t kv_capacity,
                           int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, float scale);
int32_t sjd2_attention_bf16(sjd2_stream stream, uint16_t* out, const uint16_t* q, const uint16_t* k, const uint16_t* v,
                            const sjd2_sequence* sequences, int64_t batch, int64_t max_window, int64_t kv_capacity,
                            int64_t n_heads, int64_t n_kv_heads, int64_t head_dim, float scale);

// swiglu: out[r,i] = silu(gate[r,i]) * up[r,i]
//   out [B, M, intermediate] T   gate_up [B, M, 2 * intermediate] f32: gate, then up   sequences may be NULL
int32_t sjd2_swiglu_f32(sjd2_stream stream, float* out, const float* gate_up, const sjd2_sequence* sequences, int64_t batch,
                        int64_t max_window, int64_t intermediate);
int32_t sjd2_swiglu_bf16(sjd2_stream stream, uint16_t* out, const float* gate_up, const sjd2_sequence* sequences,
                         int64_t batch, int64_t max_window, int64_t intermediate);

// gelu: out[r,i] = x/2 (1 + erf(x / sqrt 2)) when tanh_form is 0, else the tanh approximation.
//   out [B, M, n] T   x [B, M, n] f32   sequences may be NULL
int32_t sjd2_gelu_f32(sjd2_stream stream, float* out, const float* x, const sjd2_sequence* sequences, int64_t batch,
                      int64_t max_window, int64_t n, int32_t tanh_form);
int32_t sjd2_gelu_bf16(sjd2_stream stream, uint16_t* out, const float* x, const sjd2_sequence* sequences, int64_t batch,
                       int64_t max_window, int64_t n, int32_t tanh_form);

// ---------------------------------------------------------------------------------------------------------------------
// Decoding: window input, guidance and filtering, verification. docs/decoding.md states the algorithms.
// Ring index of absolute position a: a % max_window. "Slots" are positions committed .. committed + window - 1, at most
// up to length - 1; row w of a pass predicts slot w; row 0's input is the last committed token, row w's is slot w - 1.
// ---------------------------------------------------------------------------------------------------------------------

// window_input: initialises fresh slots, denoises noisy ones one step, and gathers the pass's input embeddings.
//   For every slot s (position a = committed + s) of every unfinished image, in this order:
//     forced[a] >= 0 and kind NONE   -> token = forced[a], kind FORCED, level 0
//     kind NONE, levels == 0, s < rows - 1 (it will be an input) -> token uniform over [0, C) (PURPOSE_INIT), kind UNIFORM
//     kind NONE, levels > 0          -> level = levels, z = lambda[levels] * normal (PURPOSE_NOISE)
//     kind ROW, level > 0            -> z = r z + (1 - r) norm(E[token]), r = lambda[level] / lambda[level + 1]
//                                       (verify has already lowered `level` by one; docs/decoding.md, "z-path")
//   norm(e) = (e - mean) / std. Then for row w of the pass:
//     w == 0: E[last committed token] (not written when committed == 0: sequence_input uses last_prompt)
//     w > 0, slot w-1 clean:  E[token];   noisy at level l:  mean + std * (alpha[l] z) + level_embed[l]
//   input       [I, M, D] f32            noisy (z) [I, M, D] f32, by ring index; may be NULL if every image has levels 0
//   drafts      [I, M]                   tokens [I, max_length] i32: committed local ids
//   table       [table_rows, D] T        token_rows [C + n_forced] i32: row of a local id, or NULL for the identity
//   mean, std   [D] f32                  level_embed [n_levels + 1, D] f32 (row 0 unused); lambda, alpha [n_levels + 1] f32,
//                                        lambda[0] = 0, alpha[0] = 1; all NULL if every image has levels 0
//   forced      [max_length] i32: a local id >= C, or -1 where a code is sampled; NULL: nothing is forced
//   codes       C
int32_t sjd2_window_input_f32(sjd2_stream stream, float* input, float* noisy, sjd2_draft* drafts, const sjd2_image* images,
                              const int32_t* tokens, const float* table, const int32_t* token_rows, const float* mean,
                              const float* std, const float* level_embed, const float* lambda, const float* alpha,
                              const int32_t* forced, int64_t n_images, int64_t max_window, int64_t max_length,
                              int64_t hidden, int64_t table_rows, int64_t codes, int64_t n_levels);
int32_t sjd2_window_input_bf16(sjd2_stream stream, float* input, float* noisy, sjd2_draft* drafts, const sjd2_image* images,
                               const int32_t* tokens, const uint16_t* table, const int32_t* token_rows, const float* mean,
                               const float* std, const float* level_embed, const float* lambda, const float* alpha,
                               const int32_t* forced, int64_t n_images, int64_t max_window, int64_t max_length,
                               int64_t hidden, int64_t table_rows, int64_t codes, int64_t n_levels);

// target_probs: guidance, temperature, top-k, top-p and softmax: logits of a pass to target distributions.
//   l = uncond < 0 ? c : u + guidance (c - u);  s = l / temperature;  top_k: drop s below the k-th largest (ties stay);
//   top_p: softmax, order by probability (ties: lower id first), keep while the mass before is < top_p (at least one);
//   softmax over what is left. Rows of forced positions are skipped. A row with a NaN or no finite logit sets the
//   image's status to SJD2_IMAGE_NAN_LOGITS.
//   probs   [I, 2, M, C] f32: half = iteration % 2, row = ring index of the position predicted
//   logits  [B, M, C] f32
int32_t sjd2_target_probs_f32(sjd2_stream stream, float* probs, const float* logits, sjd2_image* images,
                              const int32_t* forced, int64_t n_images, int64_t batch, int64_t max_window, int64_t codes);

// verify: tests the drafts against the targets, commits a prefix, redraws the rest, advances the state block.
//   p = probs half iteration % 2, q = the other half (kind ROW), 1/C (kind UNIFORM). For row w with slot a = committed + w:
//     limit = 1 + number of leading slots with level 0, at most the live rows: what lies behind a noisy input is not committed
//     MRS(p, q, d): accept d if uniform(ACCEPT) * q(d) < p(d), else inverse CDF in id order of max(p - q, 0) / sum
//     commit from the left: forced token | by decoder: SEQUENTIAL one draw; GREEDY argmax p; EXACT argmax(log p + gumbel);
//       INDEPENDENT, MAXIMAL, GUMBEL: MRS, or a draw from p where the slot has no token;
//       stop after the first token that differs from the draft, or whose slot had none, or at the limit
//     behind it, every live row w: new token by decoder: GREEDY and EXACT as above; INDEPENDENT a fresh draw;
//       MAXIMAL MRS(p, q, d) or a draw; GUMBEL argmax(log p + gumbel(a)); kind ROW; a level > 0 is lowered by one
//   stalls counts the passes in a row, of more than one row and not SEQUENTIAL, whose first slot held a clean draft that was not kept; once it
//     reaches restart > 0 it is 0 again, restarts += 1, and every slot behind the prefix but the forced ones becomes kind
//     NONE at level `levels` in place of its new token (docs/decoding.md, "Restarting a stalled window")
//   then tokens[a] for the committed, committed += m, iteration += 1, accepted = m; ring entries of the committed become
//   kind NONE at level `levels`; for each sequence kv_len += m, position += m, rows = min(window, length - committed).
//   A finished image keeps its state with rows = 0. An image whose status is not OK is left as it is, with rows = 0.
//   Uniforms are 24-bit (word >> 8) * 2^-24; Gumbel noise is -log(-log((word + 0.5) * 2^-32)); ties of argmax: lowest id.
int32_t sjd2_verify_f32(sjd2_stream stream, int32_t* tokens, sjd2_draft* drafts, sjd2_image* images,
                        sjd2_sequence* sequences, const float* probs, const int32_t* forced, int64_t n_images,
                        int64_t batch, int64_t max_window, int64_t max_length, int64_t codes);

// verify_given: the rejection test of INDEPENDENT with uniforms that the caller chose; one image, for tests and tracing.
//   result      [2 + rows + 1] i32: accepted, produced count, produced tokens
//   residual    [C] f32 the residual distribution of the rejected row, or untouched
//   draft [rows] i32; q, p [rows, C] f32; uniforms [rows] f32; resample_uniform for the residual
int32_t sjd2_verify_given_f32(sjd2_stream stream, int32_t* result, float* residual, const int32_t* draft, const float* q,
                              const float* p, const float* uniforms, float resample_uniform, int64_t rows, int64_t codes);

// draw_given: out[r] = smallest j with p[r,0] + .. + p[r,j] > uniforms[r] (f64 sums)
int32_t sjd2_draw_given_f32(sjd2_stream stream, int32_t* out, const float* p, const float* uniforms, int64_t rows,
                            int64_t codes);

// log_likelihood: out[r] = log softmax(logits[r,:])[targets[r]]; logits [rows, C] f32, targets [rows] i32
int32_t sjd2_log_likelihood_f32(sjd2_stream stream, float* out, const float* logits, const int32_t* targets, int64_t rows,
                                int64_t codes);

// philox_words, philox_normals: elements [0, n) of one stream, for tests and for setting up noise.
int32_t sjd2_philox_words(sjd2_stream stream, uint32_t* out, uint32_t seed_lo, uint32_t seed_hi, uint32_t image,
                          uint32_t stream_lo, uint32_t stream_hi, int64_t n);
int32_t sjd2_philox_normals_f32(sjd2_stream stream, float* out, uint32_t seed_lo, uint32_t seed_hi, uint32_t image,
                                uint32_t stream_lo, uint32_t stream_hi, int64_t n);

// ---------------------------------------------------------------------------------------------------------------------
// Image tokenisers. Pictures are channels-last, [N, frames, height, width, C], and f32 between operations; T, f32 or bf16,
// is the dtype of a convolution's weights and of what it multiplies them with. Sums are f32.
// ---------------------------------------------------------------------------------------------------------------------

// A convolution's extents. In host memory, read before the call returns.
typedef struct sjd2_conv_shape {
  int64_t batch;                                 // N
  int64_t frames, height, width, channels;       // of x, before it is enlarged
  int64_t out_frames, out_height, out_width, out_channels;
  int32_t kernel_frames, kernel_height, kernel_width;
  int32_t stride_frames, stride_height, stride_width;
  int32_t pad_frames, pad_height, pad_width;     // zeros before the first; behind the last, as many as the output reaches
  int32_t enlarge_frames, enlarge_space;         // 1, or 2: every element is seen twice (nearest neighbour)
  int32_t map_height, map_width;                 // of `map`; 0 without one
  int32_t swish;                                 // whether x passes x * sigmoid(x) on its way in
  int32_t accumulate;                            // whether out is added to
} sjd2_conv_shape;

// pack_conv: weights into the library's own layout for conv, rounded to nearest even where narrower.
//   dst  packed_conv_elements(n_out, n_in, taps) elements of dst_dtype (SJD2_F32 or SJD2_BF16), 64-byte aligned, zeroed
//   src  [n_rows, n_in, taps] of src_dtype (SJD2_F32, SJD2_BF16 or SJD2_F16), outputs [first_row, first_row + n_rows);
//        taps = kernel_frames * kernel_height * kernel_width, row-major
int32_t sjd2_packed_conv_elements(int64_t* out, int64_t n_out, int64_t n_in, int64_t taps, int32_t dst_dtype);
int32_t sjd2_pack_conv(sjd2_stream stream, void* dst, const void* src, int64_t first_row, int64_t n_rows, int64_t n_out,
                       int64_t n_in, int64_t taps, int32_t dst_dtype, int32_t src_dtype);

// conv: a convolution in space and time of a normalised, modulated, activated and enlarged picture.
//   v[n,t,y,x,c]   = T(swish(a * map[n,y',x',c] + map[n,y',x',C + c])),  a = (x - norm[n,0,c]) * norm[n,1,c] + norm[n,2,c],
//                    y' = y * map_height / height, x' likewise; steps whose argument is NULL or 0 are left out
//   out[n,t,y,x,o] = (accumulate ? out : 0) + bias[o] + sum_{i,j,k,c} w[o,c,i,j,k] v[n,(t*stride_frames + i - pad_frames)
//                    / enlarge_frames, (y*stride_height + j - pad_height) / enlarge_space, ..., c], v = 0 outside of x
//   out      [N, out_frames, out_height, out_width, out_channels] f32; overlaps no input
//   moments  [N, 2, out_channels] f32 or NULL: mean and variance (population) of each channel of out
//   x        [N, frames, height, width, C] f32        norm [N, 3, C] f32 or NULL: mean, factor, offset
//   map      [N, map_height, map_width, 2 C] f32 or NULL
//   w        packed T                                  bias [out_channels] f32 or NULL
//   What is written at one place depends on nothing but what the formula names, whatever the number of threads.
//   cost     2 * N * out_frames * out_height * out_width * out_channels * C * taps FLOP
//   fails    SJD2_BAD_SHAPE unless strides and enlargements are 1 or 2 and kernels have 1 to 7 taps along an axis
int32_t sjd2_conv_f32(sjd2_stream stream, float* out, float* moments, const float* x, const float* norm, const float* map,
                      const float* w, const float* bias, const sjd2_conv_shape* shape);
int32_t sjd2_conv_bf16(sjd2_stream stream, float* out, float* moments, const float* x, const float* norm,
                       const float* map, const uint16_t* w, const float* bias, const sjd2_conv_shape* shape);

// group_norm: what conv needs to normalise groups of channels.
//   norm[n,:,c] = (mean of c's group, weight[c] / sqrt(variance of c's group + eps), bias[c])
//   norm [N, 3, C] f32      moments [N, 2, C] f32, as conv writes them      weight, bias [C] f32
//   fails SJD2_BAD_SHAPE unless groups divides channels
int32_t sjd2_group_norm_f32(sjd2_stream stream, float* norm, const float* moments, const float* weight, const float* bias,
                            int64_t batch, int64_t channels, int64_t groups, float eps);

// vq_attention: one head over all positions of a picture.
//   out[n,p,:] = sum_t softmax_t(scale * q[n,p,:]·k[n,t,:]) v[n,t,:]
//   out [N, P, C] f32      qkv [N, P, 3 C] f32: q, k, v; they and the softmax are rounded to T before they are multiplied
//   cost 4 N P^2 C FLOP
int32_t sjd2_vq_attention_f32(sjd2_stream stream, float* out, const float* qkv, int64_t batch, int64_t positions,
                              int64_t channels, float scale);
int32_t sjd2_vq_attention_bf16(sjd2_stream stream, float* out, const float* qkv, int64_t batch, int64_t positions,
                               int64_t channels, float scale);

#ifdef __cplusplus
}
#endif

#endif  // SJD2_KERNELS_H
