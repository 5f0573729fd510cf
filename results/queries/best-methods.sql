-- The method of lowest mean perplexity for each data set and precision
-- parameter: dataset text '' evaluated on; '' for all
SELECT suite, trained_on, model, evaluated_on, setting, method, mean AS perplexity, sd, seeds
FROM table_quantization
WHERE best AND metric = 'perplexity' AND (:dataset = '' OR evaluated_on = :dataset)
ORDER BY suite, trained_on, model, evaluated_on, setting_order
