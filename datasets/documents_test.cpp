#include "datasets/documents.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include "datasets/random.h"
#include "datasets/test_support.h"

namespace oasis {
namespace {

struct Read {
  std::vector<std::string> documents;
  std::size_t pieces = 0;
};

Read read_all(const std::filesystem::path& file) {
  Read read;
  const auto reader = open_documents(file);
  TextPiece piece;
  bool starts = true;
  while (reader->next(piece)) {
    ++read.pieces;
    if (starts) read.documents.emplace_back();
    read.documents.back() += piece.text;
    starts = piece.ends_document;
  }
  EXPECT_TRUE(starts) << "the last document was not ended";
  return read;
}

std::string compress(const std::string& text, int window_log = 0) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  if (window_log > 0) {
    ZSTD_CCtx_setParameter(context, ZSTD_c_enableLongDistanceMatching, 1);
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
  }
  // Streaming, so that the frame does not say how long it is and keeps its window.
  std::string out(ZSTD_compressBound(text.size()), '\0');
  ZSTD_inBuffer input = {text.data(), text.size(), 0};
  ZSTD_outBuffer output = {out.data(), out.size(), 0};
  ZSTD_compressStream2(context, &output, &input, ZSTD_e_continue);
  EXPECT_EQ(ZSTD_compressStream2(context, &output, &input, ZSTD_e_end), 0u);
  ZSTD_freeCCtx(context);
  out.resize(output.pos);
  return out;
}

const std::string kTwoDocuments =
    "{\"source\": \"a\", \"text\": \"first\\nline \\u00e9\"}\n\n{\"text\": \"second\"}\n";

TEST(Text, IsOneDocumentInPiecesOfWholeLines) {
  TestFolder folder;
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "line " + std::to_string(i) + "\n";
  text += "no newline at the end";
  write_text(folder / "a.txt", text);
  const auto reader = open_documents(folder / "a.txt");
  TextPiece piece;
  std::string joined;
  std::size_t pieces = 0;
  while (reader->next(piece)) {
    ++pieces;
    joined += piece.text;
    EXPECT_EQ(piece.ends_document, joined.size() == text.size());
    if (!piece.ends_document) {
      EXPECT_EQ(piece.text.back(), '\n');
    }
  }
  EXPECT_EQ(joined, text);
  EXPECT_GT(pieces, 2u);
  EXPECT_EQ(reader->position(), text.size());
}

TEST(Text, EmptyFileIsAnError) {
  TestFolder folder;
  write_text(folder / "a.txt", "");
  EXPECT_TRUE(contains(message_of([&] { open_documents(folder / "a.txt"); }), "a.txt: is empty"));
}

TEST(JsonLines, GivesTextAndJoinsQuestionAndAnswer) {
  TestFolder folder;
  write_text(folder / "a.jsonl",
             kTwoDocuments + "{\"question\": \"1+1?\", \"answer\": \"<<1+1=2>>2\\n#### 2\"}");
  const std::vector<std::string> expected = {"first\nline é", "second",
                                             "Question: 1+1?\nAnswer: <<1+1=2>>2\n#### 2"};
  EXPECT_EQ(read_all(folder / "a.jsonl").documents, expected);
}

TEST(JsonLines, ErrorsNameFileAndLine) {
  TestFolder folder;
  const auto message = [&folder](const std::string& line) {
    write_text(folder / "a.jsonl", kTwoDocuments + line + "\n");
    return message_of([&folder] { read_all(folder / "a.jsonl"); });
  };
  const std::string place = (folder / "a.jsonl").string() + ": line 4";
  EXPECT_TRUE(contains(message("{\"text\": "), place + " is not valid JSON"));
  EXPECT_TRUE(contains(message("{\"text\": \"\xff\"}"), place + " is not valid JSON"));
  EXPECT_TRUE(contains(message("{\"body\": \"x\"}"), place + " has no field 'text'"));
  EXPECT_TRUE(contains(message("[1]"), place + " has no field 'text'"));
  EXPECT_TRUE(
      contains(message("{\"text\": 3}"), place + ": field 'text' must be a string, not number"));
}

TEST(JsonLines, DeepNestingIsNoCrash) {
  TestFolder folder;
  write_text(folder / "a.jsonl", std::string(1'000'000, '[') + "\n");
  message_of([&folder] { read_all(folder / "a.jsonl"); });
  write_text(folder / "a.jsonl", "{\"text\": \"x\", \"y\": " + std::string(200'000, '[') +
                                     std::string(200'000, ']') + "}\n");
  EXPECT_EQ(read_all(folder / "a.jsonl").documents.size(), 1u);
}

TEST(Zstandard, ReadsSeveralFramesAndLargeWindows) {
  TestFolder folder;
  write_text(folder / "a.jsonl.zst",
             compress(kTwoDocuments, 27) + compress("{\"text\": \"third\"}\n"));
  const std::vector<std::string> expected = {"first\nline é", "second", "third"};
  EXPECT_EQ(read_all(folder / "a.jsonl.zst").documents, expected);
}

TEST(Zstandard, CutAnywhereIsAnErrorThatNamesTheFile) {
  TestFolder folder;
  const auto whole = compress(kTwoDocuments);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_text(folder / "a.jsonl.zst", whole.substr(0, size));
    const auto message = message_of([&folder] { read_all(folder / "a.jsonl.zst"); });
    EXPECT_TRUE(contains(message, "a.jsonl.zst")) << size;
  }
}

TEST(Zstandard, AFlippedBitIsAnErrorOrChangesNothing) {
  TestFolder folder;
  std::string text;
  for (int i = 0; i < 50; ++i) text += "{\"text\": \"number " + std::to_string(i * i) + "\"}\n";
  const auto whole = compress(text);
  write_text(folder / "a.jsonl.zst", whole);
  const auto right = read_all(folder / "a.jsonl.zst").documents;
  std::size_t trials = 0, errors = 0;
  for (std::size_t bit = 0; bit < whole.size() * 8; bit += 7) {  // each byte, each bit in turn
    ++trials;
    auto flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    write_text(folder / "a.jsonl.zst", flipped);
    try {
      EXPECT_EQ(read_all(folder / "a.jsonl.zst").documents, right) << bit;
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_status(), 2);
      ++errors;
    }
  }
  EXPECT_GT(errors, trials * 7 / 8);
}

TEST(Readers, RandomBytesAreErrorsNotCrashes) {
  TestFolder folder;
  Random random(1);
  for (int trial = 0; trial < 100; ++trial) {
    std::string bytes(random.below(400), '\0');
    for (auto& byte : bytes) byte = static_cast<char>(random.next());
    if (trial % 2 == 0) bytes.insert(0, "\x28\xb5\x2f\xfd");  // Zstandard's magic number
    for (const char* name : {"a.jsonl", "a.jsonl.zst"}) {
      write_text(folder / name, bytes + "\x01");
      EXPECT_NE(message_of([&] { read_all(folder / name); }), "");
    }
  }
}

TEST(Readers, UnknownKindAndMissingFileSayWhatToDo) {
  TestFolder folder;
  EXPECT_TRUE(contains(message_of([&] { open_documents(folder / "a.txt"); }), "OASIS_DATA_HOME"));
  EXPECT_TRUE(contains(message_of([&] { open_documents(folder / "a.csv"); }), "known: .txt"));
  EXPECT_TRUE(contains(message_of([&] { open_documents(folder / "a.parquet"); }),
                       "scripts/parquet_to_jsonl.py \"" + (folder / "a.parquet").string() + "\""));
}

}  // namespace
}  // namespace oasis
