#include "models/generation/generator.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>
#include <optional>
#include <span>

#include "kernels/cuda/step_graph.h"
#include "kernels/linear/linear.h"
#include "models/generation/key_value_cache.h"
#include "support/error.h"

namespace oasis {

// One run over prompts of one kind: the cache, and what a decode step reads and writes on the
// device, in one place for every step.
class Generator::Session {
 public:
  Session(const Generator& owner, const std::vector<Prompt>& prompts, std::vector<size_t> order,
          int64_t places, int64_t context)
      : model_(owner.model_),
        options_(owner.options_),
        observer_(owner.observer_),
        prompts_(prompts),
        waiting_(std::move(order)),
        on_gpu_(model_.embed_tokens().is_cuda()),
        integers_(at::TensorOptions(at::kLong).device(model_.embed_tokens().device())),
        cache_(model_.config(), places, context,
               model_.embed_tokens().options().requires_grad(false)),
        tokens_(at::zeros({places}, integers_)),
        positions_(at::zeros({places}, integers_)),
        streams_(at::zeros({places}, integers_)),
        read_every_(on_gpu_ ? options_.steps_per_read : 1),
        made_(at::zeros({read_every_, places}, integers_)),
        next_row_(at::zeros({1}, integers_)),
        sequences_(static_cast<size_t>(places)) {
    if (on_gpu_ && options_.cuda_graph && make_step_graph != nullptr) graph_ = make_step_graph();
  }

  int64_t run(const TokenSink& sink) {
    int64_t steps = 0;
    for (fill_places(sink); active_ > 0; fill_places(sink)) {
      for (int64_t i = 0; i < read_every_; ++i) {
        graph_ ? graph_->run([this] { decode_step(); }) : decode_step();
      }
      steps += read_every_;
      read(sink);
    }
    return steps;
  }

 private:
  struct Sequence {
    std::optional<size_t> prompt;  // none: the place is free
    int64_t made = 0;              // new tokens so far
  };

  int64_t places() const { return std::ssize(sequences_); }
  // The places that a step works on: on the GPU all, so that the graph is always the same; on the
  // CPU those in use, which are the first ones.
  int64_t worked_on() const { return on_gpu_ ? places() : active_; }

  at::Tensor logits(const at::Tensor& hidden) const {
    const auto head = model_.head_weight();
    if (on_gpu_ && hidden.scalar_type() != at::kFloat &&
        hidden.scalar_type() == head.scalar_type()) {
      return at::mm(hidden, head.t(), at::kFloat);  // not rounded to the half type
    }
    return oasis::linear(hidden, head);
  }

  void decode_step() {
    const int64_t n = worked_on();
    const auto tokens = tokens_.narrow(0, 0, n), positions = positions_.narrow(0, 0, n);
    const auto hidden = model_.forward(
        tokens.unsqueeze(1), CacheUse{.cache = cache_, .positions = positions}, observer_);
    const auto next = sample_token(logits(hidden.select(1, 0)), streams_.narrow(0, 0, n),
                                   positions + 1, options_.sampling);
    made_.narrow(1, 0, n).index_copy_(0, next_row_, next.unsqueeze(0));
    next_row_.add_(1).remainder_(read_every_);
    // A sequence that is past its end must stay within the vocabulary and the cache.
    tokens.copy_(next.clamp_min(0));
    positions.add_(1).clamp_max_(cache_.context() - 1);
  }

  // Prefills waiting prompts into free places until there are no more of either.
  void fill_places(const TokenSink& sink) {
    while (active_ < places() && !waiting_.empty()) {
      std::vector<size_t> group;
      std::vector<int64_t> rows;
      int64_t longest = 0;
      for (int64_t row = 0; row < places() && !waiting_.empty(); ++row) {
        if (sequences_[static_cast<size_t>(row)].prompt) continue;
        const auto length = std::max(longest, std::ssize(prompts_[waiting_.front()]));
        if (!group.empty() && (std::ssize(group) + 1) * length > options_.prefill_tokens) break;
        longest = length;
        group.push_back(waiting_.front());
        rows.push_back(row);
        waiting_.erase(waiting_.begin());
      }
      prefill(group, rows, longest, sink);
    }
  }

  void prefill(const std::vector<size_t>& group, const std::vector<int64_t>& rows, int64_t longest,
               const TokenSink& sink) {
    const int64_t count = std::ssize(group);
    const auto tokens = at::zeros({count, longest}, at::kLong);
    const auto ends = at::empty({count}, at::kLong), streams = at::empty({count}, at::kLong);
    for (int64_t i = 0; i < count; ++i) {
      const auto& prompt = prompts_[group[static_cast<size_t>(i)]];
      std::copy(prompt.begin(), prompt.end(), tokens[i].mutable_data_ptr<int64_t>());
      ends.mutable_data_ptr<int64_t>()[i] = std::ssize(prompt);
      streams.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(group[static_cast<size_t>(i)]);
    }
    const auto device = integers_.device();
    const auto at_rows = at::tensor(rows, at::kLong).to(device);
    const auto lengths = ends.to(device), own_streams = streams.to(device);
    const auto hidden =
        model_.forward(tokens.to(device), CacheUse{.cache = cache_, .rows = at_rows}, observer_);
    const auto last = hidden.reshape({count * longest, -1})
                          .index_select(0, at::arange(count, integers_) * longest + lengths - 1);
    const auto next = sample_token(logits(last), own_streams, lengths, options_.sampling);
    tokens_.index_copy_(0, at_rows, next.clamp_min(0));
    positions_.index_copy_(0, at_rows, lengths);
    streams_.index_copy_(0, at_rows, own_streams);
    for (size_t i = 0; i < group.size(); ++i) {
      sequences_[static_cast<size_t>(rows[i])] = {group[i], 0};
    }
    active_ += count;
    const auto first = next.cpu();
    std::vector<int64_t> ended;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (!take(rows[i], first.const_data_ptr<int64_t>()[i], sink)) ended.push_back(rows[i]);
    }
    release(ended);
  }

  // Hands over the tokens of the last steps.
  void read(const TokenSink& sink) {
    const auto made = made_.cpu();
    const auto* token = made.const_data_ptr<int64_t>();
    std::vector<int64_t> ended;
    for (int64_t row = 0; row < places(); ++row) {
      if (!sequences_[static_cast<size_t>(row)].prompt) continue;
      for (int64_t step = 0; step < read_every_; ++step) {
        if (take(row, token[step * places() + row], sink)) continue;
        ended.push_back(row);
        break;
      }
    }
    release(ended);
  }

  // One token of the sequence in `row`; whether it goes on.
  bool take(int64_t row, int64_t token, const TokenSink& sink) {
    auto& sequence = sequences_[static_cast<size_t>(row)];
    if (token < 0) {
      throw failed("prompt {}: the model's logits are not a number after {} new tokens",
                   *sequence.prompt, sequence.made);
    }
    ++sequence.made;
    const bool wanted = sink(*sequence.prompt, static_cast<uint32_t>(token));
    return wanted && sequence.made < options_.max_new_tokens;
  }

  // Frees places. On the CPU the last sequences move into the gaps, so that a step does no work
  // for nobody; on the GPU a free place goes on at position 0, where its step costs least.
  void release(std::vector<int64_t> rows) {
    for (const auto row : rows) sequences_[static_cast<size_t>(row)] = {};
    if (on_gpu_) {
      if (!rows.empty()) {
        positions_.index_fill_(0, at::tensor(rows, at::kLong).to(integers_.device()), 0);
      }
    } else {
      int64_t last = active_ - 1;
      for (const auto row : rows) {
        while (last >= 0 && !sequences_[static_cast<size_t>(last)].prompt) --last;
        if (row < last) move(last, row);
      }
    }
    active_ -= std::ssize(rows);
  }

  void move(int64_t from, int64_t to) {
    cache_.copy_sequence(from, to, positions_[from].item<int64_t>());
    for (const auto& x : {tokens_, positions_, streams_}) x[to].copy_(x[from]);
    sequences_[static_cast<size_t>(to)] =
        std::exchange(sequences_[static_cast<size_t>(from)], Sequence{});
  }

  const Decoder& model_;
  const GenerationOptions& options_;
  ForwardObserver* observer_;
  const std::vector<Prompt>& prompts_;
  std::vector<size_t> waiting_;  // prompts, the next one first
  bool on_gpu_;
  at::TensorOptions integers_;
  KeyValueCache cache_;
  at::Tensor tokens_;     // [places] the token to feed next
  at::Tensor positions_;  // [places] its position
  at::Tensor streams_;    // [places] of the random numbers
  int64_t read_every_;
  at::Tensor made_;                  // [read_every_, places] tokens of the last steps
  at::Tensor next_row_;              // [1] where in made_ the next step writes
  std::vector<Sequence> sequences_;  // by place
  int64_t active_ = 0;
  std::unique_ptr<StepGraph> graph_;
};

Generator::Generator(const Decoder& model, const GenerationOptions& options,
                     ForwardObserver* observer)
    : model_(model), options_(options), observer_(observer) {
  for (const auto& [name, value] :
       {std::pair("max_new_tokens", options.max_new_tokens), std::pair("batch", options.batch),
        std::pair("prefill_tokens", options.prefill_tokens),
        std::pair("steps_per_read", options.steps_per_read)}) {
    if (value < 1) throw bad_input("{} = {} must be at least 1", name, value);
  }
}

Generator::~Generator() = default;

void Generator::run(const std::vector<Prompt>& prompts, std::vector<size_t> order,
                    const TokenSink& sink) {
  std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return prompts[i].size(); });
  const int64_t context = std::ssize(prompts[order.front()]) + options_.max_new_tokens;
  batch_ = std::min(options_.batch, std::ssize(order));
  // Only what was not begun may be begun again.
  bool begun = false;
  const auto noted = [&](size_t prompt, uint32_t token) {
    begun = true;
    return sink(prompt, token);
  };
  for (;;) {
    try {
      steps_ += Session(*this, prompts, order, batch_, context).run(noted);
      return;
    } catch (const c10::OutOfMemoryError&) {
      if (begun || batch_ == 1) throw;
      batch_ = (batch_ + 1) / 2;
    }
  }
}

void Generator::generate(const std::vector<Prompt>& prompts, const TokenSink& sink) {
  const at::NoGradGuard no_grad;
  const auto& config = model_.config();
  steps_ = 0;
  // Apart by RoPE's divisors, which may depend on the length.
  std::map<std::vector<double>, std::vector<size_t>> kinds;
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (prompts[i].empty()) throw bad_input("prompt {} holds no token", i);
    for (const auto token : prompts[i]) {
      if (token >= config.vocab_size) {
        throw bad_input("prompt {}: token {} is outside the model's vocabulary of {}", i, token,
                        config.vocab_size);
      }
    }
    const int64_t length = std::ssize(prompts[i]) + options_.max_new_tokens;
    kinds[config.rope_scaling.divisors(config.rope_theta, config.rotary_dim(), length)].push_back(
        i);
  }
  for (auto& [divisors, order] : kinds) run(prompts, std::move(order), sink);
}

}  // namespace oasis
