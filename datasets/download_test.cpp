#include "datasets/download.h"

#include <gtest/gtest.h>

#include "datasets/test_server.h"
#include "datasets/test_support.h"
#include "support/sha256.h"

namespace oasis {
namespace {

std::string long_body() {
  std::string body;
  for (int i = 0; body.size() < 300'000; ++i) body += std::to_string(i) + ",";
  return body;
}

class DownloadTest : public testing::Test {
 protected:
  DownloadTest() {
    options_.retry_seconds = 0.001;
    request_.target = folder_ / "sub/file.bin";
    request_.bytes = body_.size();
    request_.sha256 = sha256_hex(body_);
  }

  std::string part() const { return request_.target.string() + ".part"; }

  void expect_arrived() {
    EXPECT_EQ(read_text(request_.target), body_);
    EXPECT_FALSE(std::filesystem::exists(part()));
  }

  TestFolder folder_;
  std::string body_ = long_body();
  DownloadOptions options_;
  DownloadRequest request_;
};

TEST_F(DownloadTest, ArrivesWithProgress) {
  TestServer server([this](const TestRequest& r) { return TestServer::file(body_, r); });
  request_.urls = {server.url("/file.bin")};
  std::uint64_t reported = 0;
  const auto hash = download(request_, options_, [&reported](const Progress& progress) {
    EXPECT_EQ(progress.what, "fetching file.bin");
    reported = progress.done;
  });
  EXPECT_EQ(hash, sha256_hex(body_));
  EXPECT_GT(reported, 0u);
  expect_arrived();
}

TEST_F(DownloadTest, ResumesAfterBrokenConnections) {
  TestServer server([this](const TestRequest& r) {
    auto reply = TestServer::file(body_, r);
    reply.cut_after = 100'000;
    return reply;
  });
  request_.urls = {server.url("/f")};
  download(request_, options_);
  expect_arrived();
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_EQ(requests[0].range_start, -1);
  EXPECT_EQ(requests[1].range_start, 100'000);
  EXPECT_EQ(requests[2].range_start, 200'000);
}

TEST_F(DownloadTest, ResumesWhatAnEarlierProcessLeft) {
  write_text(part(), body_.substr(0, 1234));
  TestServer server([this](const TestRequest& r) { return TestServer::file(body_, r); });
  request_.urls = {server.url("/f")};
  download(request_, options_);
  expect_arrived();
  EXPECT_EQ(server.requests().at(0).range_start, 1234);
}

TEST_F(DownloadTest, StartsAgainWhereTheServerIgnoresRanges) {
  write_text(part(), "something else");
  TestServer server([this](const TestRequest&) { return TestReply{200, body_}; });
  request_.urls = {server.url("/f")};
  download(request_, options_);
  expect_arrived();
}

TEST_F(DownloadTest, StartsAgainWhereThePartIsAnotherThanAskedFor) {
  write_text(part(), body_.substr(0, 1000));
  TestServer server([this](const TestRequest& r) {
    return r.range_start < 0 ? TestReply{200, body_}
                             : TestReply{206, body_.substr(5), {"Content-Range: bytes 5-9/10"}};
  });
  request_.urls = {server.url("/f")};
  download(request_, options_);
  expect_arrived();
}

TEST_F(DownloadTest, ALeftoverThatIsWrongIsReplaced) {
  for (const std::size_t size : {std::size_t{1000}, body_.size(), body_.size() + 50}) {
    write_text(part(), std::string(size, 'x'));
    TestServer server([this](const TestRequest& r) { return TestServer::file(body_, r); });
    request_.urls = {server.url("/f")};
    download(request_, options_);
    expect_arrived();
    std::filesystem::remove(request_.target);
  }
}

TEST_F(DownloadTest, BusyServersAreAskedAgainAndMissingFilesElsewhere) {
  int busy = 3;
  TestServer server([&](const TestRequest& r) {
    if (r.path == "/gone") return TestReply{404, "no such file"};
    if (busy-- > 0) return TestReply{503, "busy"};
    return TestServer::file(body_, r);
  });
  request_.urls = {server.url("/gone"), server.url("/here")};
  download(request_, options_);
  expect_arrived();
  EXPECT_EQ(server.requests().size(), 5u) << "404 is not asked again; 503 is";
}

TEST_F(DownloadTest, FollowsRedirectsToHttpOnly) {
  TestServer server([this](const TestRequest& r) {
    if (r.path == "/from") return TestReply{302, "moved", {"Location: /to"}};
    if (r.path == "/file") return TestReply{302, "moved", {"Location: file:///etc/passwd"}};
    return TestServer::file(body_, r);
  });
  request_.urls = {server.url("/from")};
  download(request_, options_);
  expect_arrived();
  request_.urls = {server.url("/file")};
  options_.attempts = 1;
  message_of([this] { download(request_, options_); }, 1);
  request_.urls = {"file:///etc/passwd"};
  message_of([this] { download(request_, options_); }, 1);
}

TEST_F(DownloadTest, WrongContentNeverTakesTheFilesPlace) {
  auto wrong = body_;
  wrong[77] ^= 1;
  TestServer server([&wrong](const TestRequest& r) { return TestServer::file(wrong, r); });
  request_.urls = {server.url("/f")};
  write_text(request_.target, "the old file");
  options_.attempts = 2;
  const auto message = message_of([this] { download(request_, options_); }, 1);
  EXPECT_TRUE(contains(message, "its SHA-256 is " + sha256_hex(wrong)));
  EXPECT_TRUE(contains(message, server.url("/f")));
  EXPECT_EQ(read_text(request_.target), "the old file");
}

TEST_F(DownloadTest, SizeIsBounded) {
  TestServer server([this](const TestRequest&) { return TestReply{200, body_ + "more"}; });
  request_.urls = {server.url("/f")};
  EXPECT_TRUE(contains(message_of([this] { download(request_, options_); }, 1), "larger than"));
  EXPECT_LE(std::filesystem::file_size(part()), body_.size());
  std::filesystem::remove(part());
  request_.bytes = 0;
  request_.sha256.clear();
  options_.max_bytes = 1000;
  EXPECT_TRUE(
      contains(message_of([this] { download(request_, options_); }, 1), "larger than 1000 bytes"));
  options_.max_bytes = 1 << 20;
  EXPECT_EQ(download(request_, options_), sha256_hex(body_ + "more"));
}

TEST_F(DownloadTest, ShortFilesAndDeadServersAreErrors) {
  {
    TestServer server([](const TestRequest&) { return TestReply{200, "short"}; });
    request_.urls = {server.url("/f")};
    options_.attempts = 2;
    EXPECT_TRUE(contains(message_of([this] { download(request_, options_); }, 1),
                         "5 bytes instead of " + std::to_string(body_.size())));
  }
  EXPECT_TRUE(
      contains(message_of([this] { download(request_, options_); }, 1), "could not be fetched"));
}

TEST_F(DownloadTest, UnwritableFolderIsBadInput) {
  write_text(folder_ / "sub", "a file where the folder should be");
  request_.urls = {"http://127.0.0.1:1/f"};
  EXPECT_TRUE(contains(message_of([this] { download(request_, options_); }), "--data-home"));
}

}  // namespace
}  // namespace oasis
