#include "results/table_text.h"

#include <gtest/gtest.h>

#include <cmath>

namespace oasis {
namespace {

TEST(TableText, Figures) {
  EXPECT_EQ(format_figure(0), "0.000");
  EXPECT_EQ(format_figure(123.449), "123.4");
  EXPECT_EQ(format_figure(9.9999), "10.00");
  EXPECT_EQ(format_figure(0.0123), "0.01230");
  EXPECT_EQ(format_figure(-2.60), "-2.600");
  EXPECT_EQ(format_figure(12345.6), "12346");
  EXPECT_EQ(format_figure(123456), "1.23e5");
  EXPECT_EQ(format_figure(8.7e6), "8.70e6");
  EXPECT_EQ(format_figure(0.00002), "2.00e-5");
  EXPECT_EQ(format_figure(std::nan("")), "nan");
  EXPECT_EQ(format_figure(-INFINITY), "-inf");
}

TEST(TableText, MeansWithDeviation) {
  EXPECT_EQ(format_mean(123.449, std::nullopt), "123.4");
  EXPECT_EQ(format_mean(123.449, 5.678), "123.4 ± 5.7");
  EXPECT_EQ(format_mean(123.449, 0.01), "123.4 ± < 0.1");
  EXPECT_EQ(format_mean(123.449, 0.0), "123.4 ± 0.0");
  EXPECT_EQ(format_mean(8.7e6, 1.26e6), "8.70e6 ± 1.3e6");
  EXPECT_EQ(format_mean(9e4, 1.26e5), "90000 ± 1.3e5");
  EXPECT_EQ(format_mean(0.5, 1e-6), "0.5000 ± < 0.0001");
  EXPECT_EQ(format_mean(12345, 0.2), "12345 ± < 1");
}

TEST(TableText, PercentAndCounts) {
  EXPECT_EQ(format_percent(-9.26), "-9.3 %");
  EXPECT_EQ(format_percent(3.21), "+3.2 %");
  EXPECT_EQ(format_percent(123456.0), "+1.23e5 %");
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(65536), "65,536");
  EXPECT_EQ(format_count(-1234567), "-1,234,567");
}

TEST(TableText, HostileTextIsShownNotObeyed) {
  EXPECT_EQ(printable("a\x1b[31mb\n\t\x7f"), "a\\x1b[31mb\\n\\t\\x7f");
  EXPECT_EQ(printable("\u00e4 \u2603"), "\u00e4 \u2603");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");  // a C1 control
  EXPECT_EQ(printable("\xff\xe2\x98"), "\\xff\\xe2\\x98");
  EXPECT_EQ(markdown_cell("a|b"), "a\\|b");
  EXPECT_EQ(csv_field("plain"), "plain");
  EXPECT_EQ(csv_field("a,\"b\""), "\"a,\"\"b\"\"\"");
}

TEST(TableText, AlignedByCharactersNotBytes) {
  const TextTable table{{{"Method", false}, {"x", true}}, {{"oasis", "1 ± 2"}, {"a", "10 ± 20"}}};
  EXPECT_EQ(to_markdown(table),
            "| Method |       x |\n"
            "| ------ | ------: |\n"
            "| oasis  |   1 ± 2 |\n"
            "| a      | 10 ± 20 |\n");
  EXPECT_EQ(to_plain(table),
            "Method        x\n"
            "------  -------\n"
            "oasis     1 ± 2\n"
            "a       10 ± 20\n");
}

}  // namespace
}  // namespace oasis
