-- What differs between two runs: machine, libraries, revision (their ids: SELECT id, started FROM runs)
-- parameter: first integer 1 id of a run
-- parameter: second integer 2 id of the other
WITH asked (id) AS (VALUES (:first), (:second)),
facts AS (
  SELECT a.id, 'in this database' AS fact, iif(r.id IS NULL, 'no', 'yes') AS value
  FROM asked a LEFT JOIN runs r ON r.id = a.id
  UNION ALL
  SELECT r.id, f.key, f.value
  FROM asked a JOIN runs r ON r.id = a.id, json_each(json_object(
    'machine', machine, 'operating system', operating_system, 'cpu', cpu, 'cores', cores,
    'memory bytes', memory_bytes, 'gpu', gpu, 'driver', driver, 'source revision',
    source_revision, 'source dirty', source_dirty, 'build type', build_type, 'command line',
    command_line)) f
  UNION ALL
  SELECT r.id, 'library ' || f.key, f.value
  FROM asked a JOIN runs r ON r.id = a.id, json_each(r.libraries) f)
SELECT n.fact, a.value AS first, b.value AS second
FROM (SELECT DISTINCT fact FROM facts) n
LEFT JOIN facts a ON a.fact = n.fact AND a.id = :first
LEFT JOIN facts b ON b.fact = n.fact AND b.id = :second
WHERE a.value IS NOT b.value OR (n.fact = 'in this database' AND a.value = 'no')
ORDER BY n.fact <> 'in this database', n.fact
