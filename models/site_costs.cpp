#include "models/site_costs.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "support/error.h"

namespace oasis {
namespace {

// Quantizes one point.
class OnePoint : public ForwardObserver {
 public:
  OnePoint(ForwardObserver& quantizer, std::string name)
      : quantizer_(quantizer), name_(std::move(name)) {}

  bool has_points() const override { return true; }
  at::Tensor point(const std::string& name, const at::Tensor& value) override {
    return name == name_ ? quantizer_.point(name, value) : value;
  }

 private:
  ForwardObserver& quantizer_;
  std::string name_;
};

// Leaves everything as it is, and notes the points that the quantizer would change.
class Points : public ForwardObserver {
 public:
  explicit Points(ForwardObserver& quantizer) : quantizer_(quantizer) {}

  bool has_points() const override { return true; }
  at::Tensor point(const std::string& name, const at::Tensor& value) override {
    if (!quantizer_.point(name, value).is_same(value)) names_.insert(name);
    return value;
  }
  const std::set<std::string>& names() const { return names_; }

 private:
  ForwardObserver& quantizer_;
  std::set<std::string> names_;
};

double perplexity(const Decoder& model, const std::vector<at::Tensor>& batches,
                  ForwardObserver* observer, int64_t& pairs) {
  const auto result = evaluate(model, batches, {.diagnostics = false}, {}, observer);
  const auto found = std::ranges::find(result.metrics, "perplexity", &Metric::name);
  if (found == result.metrics.end() || !found->value) {
    throw bad_input("sequences of one token have no perplexity to compare sites by");
  }
  pairs = found->n;
  return *found->value;
}

}  // namespace

std::vector<at::Tensor> first_tokens(const std::vector<at::Tensor>& batches, int64_t count) {
  std::vector<at::Tensor> first;
  const int64_t length = batches.front().size(1);
  int64_t left = std::max<int64_t>(1, count / length);
  for (const auto& batch : batches) {
    if (left == 0) break;
    const int64_t rows = std::min(left, batch.size(0));
    first.push_back(batch.narrow(0, 0, rows).narrow(1, 0, std::min(length, count)));
    left -= rows;
  }
  return first;
}

SiteCosts measure_site_costs(const Decoder& model, QuantizedModel& quantized,
                             const std::vector<at::Tensor>& batches,
                             const EvaluationProgress& progress) {
  const std::map<std::string, at::Tensor> weights(quantized.model().parameters().begin(),
                                                  quantized.model().parameters().end());
  std::vector<std::string> changed;
  for (const auto& [name, parameter] : model.parameters()) {
    if (weights.at(name).const_data_ptr() != parameter.const_data_ptr()) changed.push_back(name);
  }
  SiteCosts costs;
  Points points(quantized.observer());
  costs.perplexity = perplexity(model, batches, &points, costs.n);
  const auto total = static_cast<int64_t>(points.names().size() + changed.size());
  const auto next = [&] {
    const auto done = static_cast<int64_t>(costs.sites.size());
    if (progress && !progress(done, total)) throw failed("stopped before every site was measured");
  };

  for (const auto& point : points.names()) {
    next();
    OnePoint one(quantized.observer(), point);
    costs.sites.push_back({point, perplexity(model, batches, &one, costs.n)});
  }
  for (const auto& weight : changed) {
    next();
    auto one = model.transformed([&](const std::string& name, const at::Tensor& parameter) {
      return name == weight ? weights.at(name) : parameter.detach();
    });
    one.set_head(model.head_weight().detach());  // never quantized, tied or not
    costs.sites.push_back({weight, perplexity(one, batches, nullptr, costs.n)});
  }
  const auto rank = [](const SiteCost& cost) {
    return std::isnan(cost.perplexity) ? HUGE_VAL : cost.perplexity;
  };
  std::ranges::stable_sort(costs.sites, [&](const SiteCost& a, const SiteCost& b) {
    return std::pair(rank(a), std::isnan(a.perplexity)) >
           std::pair(rank(b), std::isnan(b.perplexity));
  });
  return costs;
}

}  // namespace oasis
